// Messages of vhost-user over a unix socket, with descriptors, and within a time limit.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "virtio/vhost_user/protocol.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::virtio::vhost_user {

using Clock = std::chrono::steady_clock;

/// A connected stream socket. One caller at a time. After an error nobody knows where in a message it stands:
/// close it.
class MessageSocket {
  public:
    /// Connects to a listening unix socket. Never waits. What the user can mend is a Fault::kInput.
    static Result<MessageSocket> connect(const std::string& path);
    /// Takes over a connected socket.
    explicit MessageSocket(Fd socket) : socket_(std::move(socket)) {}

    [[nodiscard]] int fd() const { return socket_.get(); }
    [[nodiscard]] bool open() const { return socket_.valid(); }
    /// At once, also where a poll holds on to the file.
    void close();
    /// The other end has closed it. Never waits.
    [[nodiscard]] bool hung_up() const;

    /// `flags` beside the version.
    Result<> send(Request request, std::uint32_t flags, std::span<const std::byte> payload,
                  std::span<const int> fds, Clock::time_point deadline);
    /// The reply to `request`, of `least` to payload.size() bytes: how many. One descriptor may come with it
    /// where `fd` is given; any other is closed, and is an error.
    Result<std::size_t> receive_reply(Request request, std::span<std::byte> payload, std::size_t least,
                                      Clock::time_point deadline, std::optional<Fd>* fd = nullptr);

  private:
    Result<> wait(short events, Clock::time_point deadline) const;
    Result<> receive(std::span<std::byte> bytes, Clock::time_point deadline, std::optional<Fd>* fd);

    Fd socket_;
};

/// Waits until `fd` is ready for `events` (poll), or has ended; an error once it is too late.
[[nodiscard]] Result<> wait_for(int fd, short events, Clock::time_point deadline);

}  // namespace hako::virtio::vhost_user
