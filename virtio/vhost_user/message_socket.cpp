#include "virtio/vhost_user/message_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace hako::virtio::vhost_user {
namespace {

/// More than any reply has: those beyond it the kernel does not hand over.
constexpr std::size_t kMaxFds = 8;

std::unexpected<Error> explain_connect_error(int error, const std::string& path) {
    switch (error) {
        case ENOENT:
            return fail_input("there is no socket {}: start the daemon first", path);
        case ECONNREFUSED:
            return fail_input("nobody listens at {}: start the daemon again", path);
        case EAGAIN:
            return fail_input("{} is busy with another VM: give each device a daemon of its own", path);
        case EACCES:
        case EPERM:
            return fail_input("{} may not be used by this user: run the daemon and hako as the same user",
                              path);
        default:
            return std::unexpected(Error(Fault::kInput, errno_text(error))
                                       .wrap(fmt::format("cannot connect to the socket {}", path)));
    }
}

/// Of a message that came in: kept one, the others are closed.
struct ReceivedFds {
    std::optional<Fd> first;
    std::size_t count = 0;
};

ReceivedFds take_fds(msghdr& message) {
    ReceivedFds received;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            Fd owned(fd);
            if (received.count++ == 0) received.first = std::move(owned);
        }
    }
    return received;
}

}  // namespace

Result<> wait_for(int fd, short events, Clock::time_point deadline) {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0) return fail_host("the daemon does not answer in time");
        pollfd one{.fd = fd, .events = events, .revents = 0};
        const int ready = ::poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return fail_errno(errno, "poll");
    }
}

Result<MessageSocket> MessageSocket::connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail_input("the socket's path has {} bytes: give one of 1 to {}", path.size(),
                          sizeof address.sun_path - 1);
    std::ranges::copy(path, std::begin(address.sun_path));
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return fail_errno(errno, "socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return explain_connect_error(errno, path);
    return MessageSocket(std::move(fd));
}

void MessageSocket::close() {
    if (open()) ::shutdown(socket_.get(), SHUT_RDWR);
    socket_.reset();
}

bool MessageSocket::hung_up() const {
    pollfd one{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
    return ::poll(&one, 1, 0) > 0 && (one.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

Result<> MessageSocket::wait(short events, Clock::time_point deadline) const {
    return wait_for(socket_.get(), events, deadline);
}

Result<> MessageSocket::send(Request request, std::uint32_t flags, std::span<const std::byte> payload,
                             std::span<const int> fds, Clock::time_point deadline) {
    Header header{.request = static_cast<std::uint32_t>(request),
                  .flags = flag::kVersion | flags,
                  .size = static_cast<std::uint32_t>(payload.size())};
    std::array<iovec, 2> parts = {
        iovec{.iov_base = &header, .iov_len = sizeof header},
        iovec{.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()}};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> control{};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = payload.empty() ? 1 : 2;
    if (fds.size() > kMaxFds) return fail_host("{} descriptors are too many for a message", fds.size());
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* const head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
    }
    std::size_t left = sizeof header + payload.size();
    while (left > 0) {
        const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            HAKO_TRY(wait(POLLOUT, deadline));
            continue;
        }
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return fail_errno(errno, "the daemon's socket");
        // Descriptors have gone with the first byte.
        message.msg_control = nullptr;
        message.msg_controllen = 0;
        left -= static_cast<std::size_t>(sent);
        for (std::size_t skip = static_cast<std::size_t>(sent); iovec& part : parts) {
            const std::size_t taken = std::min(skip, part.iov_len);
            part.iov_base = static_cast<std::byte*>(part.iov_base) + taken;
            part.iov_len -= taken;
            skip -= taken;
        }
    }
    return {};
}

Result<> MessageSocket::receive(std::span<std::byte> bytes, Clock::time_point deadline,
                                std::optional<Fd>* fd) {
    while (!bytes.empty()) {
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> control{};
        iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) {
            HAKO_TRY(wait(POLLIN, deadline));
            continue;
        }
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(errno, "the daemon's socket");
        ReceivedFds received = take_fds(message);
        if (got == 0) return fail_host("the daemon has closed the connection");
        if ((message.msg_flags & MSG_CTRUNC) != 0 || received.count > (fd == nullptr ? 0U : 1U) ||
            (received.first && fd != nullptr && *fd))
            return fail_host("the daemon sent descriptors that nobody asked for");
        if (received.first) *fd = std::move(received.first);
        bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
    return {};
}

Result<std::size_t> MessageSocket::receive_reply(Request request, std::span<std::byte> payload,
                                                 std::size_t least, Clock::time_point deadline,
                                                 std::optional<Fd>* fd) {
    Header header;
    HAKO_TRY(receive(std::as_writable_bytes(std::span(&header, 1)), deadline, fd));
    if ((header.flags & flag::kVersionMask) != flag::kVersion || (header.flags & flag::kReply) == 0)
        return fail_host("the daemon sent a message with flags {:#x} where a reply belongs", header.flags);
    if (header.request != static_cast<std::uint32_t>(request))
        return fail_host("the daemon answered request {} where {} was asked", header.request,
                         static_cast<std::uint32_t>(request));
    if (header.size < least || header.size > payload.size())
        return fail_host("the daemon's answer to request {} has {} bytes, it should have {}", header.request,
                         header.size, payload.size());
    HAKO_TRY(receive(payload.first(header.size), deadline, fd));
    return header.size;
}

}  // namespace hako::virtio::vhost_user
