// The host's side of a virtio socket device: where others connect to, and those it connects to.
#pragma once

#include <cstdint>
#include <string>

#include "virtio/vsock/config.h"
#include "vmm/base/fd.h"
#include "vmm/base/listen_socket.h"
#include "vmm/base/result.h"

namespace hako::virtio::vsock {

/// Outlives a reboot, as who waits to be connected does.
class HostEnd {
  public:
    /// Listens at config.socket. What the user can mend is a Fault::kInput.
    static Result<HostEnd> open(const Config& config);

    [[nodiscard]] int listening() const { return listening_.fd(); }
    /// A blocking stream socket, connected to who listens at "<socket>_<port>"; invalid if nobody does, or
    /// has no room. Does not wait.
    [[nodiscard]] Fd connect(std::uint32_t port) const;

  private:
    HostEnd(std::string socket, ListenSocket listening)
        : socket_(std::move(socket)), listening_(std::move(listening)) {}

    std::string socket_;
    ListenSocket listening_;
};

}  // namespace hako::virtio::vsock
