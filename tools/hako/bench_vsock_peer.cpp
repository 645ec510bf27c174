#include "tools/hako/bench_vsock_peer.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
// After sys/socket.h, which it needs.
#include <linux/vm_sockets.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

namespace hako::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Longer than any guest stands still.
constexpr timeval kSilence{.tv_sec = 30, .tv_usec = 0};

template <typename Address>
Result<Fd> listen_at(int family, const Address& address, const std::string& name) {
    Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid() ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), 1) != 0)
        return fail_errno(errno, "cannot listen on {}", name);
    return socket;
}

Result<Fd> listen_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail_input("{}: too long for a socket's path", path);
    std::memcpy(address.sun_path, path.data(), path.size());
    return listen_at(AF_UNIX, address, path);
}

Result<Fd> listen_vsock() {
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_ANY;
    address.svm_port = kVsockPort;
    return listen_at(AF_VSOCK, address, fmt::format("port {} of AF_VSOCK", kVsockPort));
}

Result<std::size_t> write_some(const Fd& to, std::span<const std::byte> data) {
    const ssize_t count = ::send(to.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (count <= 0) return fail_errno(errno, "cannot write to the guest");
    return static_cast<std::size_t>(count);
}

Result<std::size_t> read_some(const Fd& from, std::span<std::byte> data) {
    const ssize_t count = ::recv(from.get(), data.data(), data.size(), 0);
    if (count < 0) return fail_errno(errno, "cannot read from the guest");
    if (count == 0) return fail_host("the guest has ended the connection");
    return static_cast<std::size_t>(count);
}

Result<> round_trip(const Fd& peer, std::span<std::byte> message) {
    for (std::size_t done = 0; done < message.size();)
        done += HAKO_TRY(write_some(peer, message.subspan(done)));
    for (std::size_t done = 0; done < message.size();)
        done += HAKO_TRY(read_some(peer, message.subspan(done)));
    return {};
}

}  // namespace

Result<VsockPeer> VsockPeer::listen(const std::string& socket) {
    if (socket.empty()) return VsockPeer(HAKO_TRY(listen_vsock()));
    return VsockPeer(HAKO_TRY(listen_unix(fmt::format("{}_{}", socket, kVsockPort))));
}

Result<> VsockPeer::accept(std::chrono::seconds limit) {
    pollfd ready{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(limit).count())) != 1)
        return fail_host("the guest does not connect to port {} of its host", kVsockPort);
    connection_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection_.valid()) return fail_errno(errno, "cannot take a guest's connection");
    for (const int direction : {SO_RCVTIMEO, SO_SNDTIMEO})
        ::setsockopt(connection_.get(), SOL_SOCKET, direction, &kSilence, sizeof kSilence);
    return {};
}

Result<std::uint64_t> VsockPeer::work(const VsockJob& job, std::chrono::milliseconds time) {
    std::vector<std::byte> message(job.message);
    std::uint64_t done = 0;
    for (const auto end = Clock::now() + time; Clock::now() < end;) {
        switch (job.part) {
            case VsockPart::kRead:
                done += HAKO_TRY(read_some(connection_, message));
                break;
            case VsockPart::kWrite:
                done += HAKO_TRY(write_some(connection_, message));
                break;
            case VsockPart::kEcho:
                HAKO_TRY(round_trip(connection_, message));
                ++done;
                break;
        }
    }
    return done;
}

void VsockPeer::close() {
    connection_ = Fd();
}

}  // namespace hako::bench
