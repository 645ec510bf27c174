// A unix socket that others connect to, and who may serve it.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <variant>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako {

/// A path to make a socket at, or a listening socket that another process made.
using SocketSpec = std::variant<std::string, Fd>;

/// A listening unix stream socket. One that is made here has mode 0600, is locked through "<path>.lock", and
/// goes away with this object.
class ListenSocket {
  public:
    /// The socket file of a dead process is replaced; one that is served, or is no socket, is a
    /// Fault::kInput.
    /// `what` it is, for messages: "API socket".
    static Result<ListenSocket> open(SocketSpec spec, std::string_view what);

    ListenSocket(ListenSocket&& other) noexcept = default;
    ListenSocket& operator=(ListenSocket&&) = delete;
    ~ListenSocket() { close(); }

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Closes the socket and removes its files. Clients that are connected stay so.
    void close();

  private:
    ListenSocket() = default;
    static Result<ListenSocket> make(std::string path, std::string_view what);
    static Result<ListenSocket> adopt(Fd fd, std::string_view what);

    std::string path_;  ///< empty: another process made it
    Fd lock_;
    Fd fd_;
    dev_t device_ = 0;  ///< of the socket file, which somebody else may have replaced since
    ino_t inode_ = 0;
};

}  // namespace hako
