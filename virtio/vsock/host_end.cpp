#include "virtio/vsock/host_end.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>

namespace hako::virtio::vsock {
namespace {

static_assert(kMaxSocketPath == sizeof(sockaddr_un::sun_path) - sizeof("_4294967295"));

}  // namespace

Result<HostEnd> HostEnd::open(const Config& config) {
    if (config.socket.size() > kMaxSocketPath)
        return fail_input(
            "vsock socket {}: the path has {} bytes, at most {} leave room for \"_\" and a port",
            config.socket, config.socket.size(), kMaxSocketPath);
    ListenSocket listening = HAKO_TRY(ListenSocket::open(config.socket, "vsock socket"));
    return HostEnd(config.socket, std::move(listening));
}

Fd HostEnd::connect(std::uint32_t port) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    char* to = std::ranges::copy(socket_, std::begin(address.sun_path)).out;
    *to++ = '_';
    std::to_chars(to, std::end(address.sun_path) - 1, port);
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return {};
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    // From here on the ring waits: what is asked of a non-blocking socket it gives back at once.
    if (::fcntl(fd.get(), F_SETFL, 0) != 0) return {};
    return fd;
}

}  // namespace hako::virtio::vsock
