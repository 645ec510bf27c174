#include "migration/transport/socket_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>

#include "vmm/base/ancillary_fds.h"

namespace hako::migration {
namespace {

/// One comes with one FD frame; more is a peer that wants to use up descriptors.
constexpr std::size_t kMaxWaitingFds = 4;
/// Parts that one system call fills.
constexpr std::size_t kMaxParts = 256;

}  // namespace

Failure socket_failure(int error, std::string_view what) {
    if (error == ETIMEDOUT)
        return {Event::kTimeout, Error(Fault::kHost, fmt::format("{}: the peer no longer answers", what))};
    return {Event::kLost, Error(Fault::kHost, errno_text(error)).wrap(std::string(what))};
}

void consume(std::span<iovec>& parts, std::size_t count) {
    while (!parts.empty()) {
        iovec& part = parts.front();
        if (count < part.iov_len) {
            part.iov_base = static_cast<std::byte*>(part.iov_base) + count;
            part.iov_len -= count;
            return;
        }
        count -= part.iov_len;
        parts = parts.subspan(1);
    }
}

Outcome<> Stream::send_fd(std::span<const std::byte> /*data*/, int /*fd*/, const Wait& /*wait*/) {
    return fail_as(Event::kLocal, "descriptors go over a unix socket only: migrate to unix:PATH");
}

SocketStream::SocketStream(Fd socket) : socket_(std::move(socket)) {
    const int flags = ::fcntl(socket_.get(), F_GETFL);
    ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK);
}

Outcome<std::size_t> SocketStream::send_some(std::span<iovec> parts, int fd, const Wait& wait) {
    FdControl<1> control;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min<std::size_t>(parts.size(), IOV_MAX);
    if (fd >= 0) attach_fds(message, control.bytes, std::span(&fd, 1));
    for (;;) {
        const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            handed_ += static_cast<std::uint64_t>(sent);
            return static_cast<std::size_t>(sent);
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN && errno != ENOBUFS) return std::unexpected(socket_failure(errno, "cannot send"));
        HAKO_TRY(wait_ready(socket_.get(), POLLOUT, wait));
    }
}

Outcome<> SocketStream::send(std::span<iovec> parts, const Wait& wait) {
    consume(parts, 0);
    while (!parts.empty()) {
        if (wait.stop != nullptr) {
            // A peer that is fast enough never makes us wait: look here too.
            if (auto reason = wait.stop->reason()) return std::unexpected(std::move(*reason));
        }
        consume(parts, HAKO_TRY(send_some(parts, -1, wait)));
    }
    return {};
}

Outcome<> SocketStream::send_fd(std::span<const std::byte> data, int fd, const Wait& wait) {
    iovec part{.iov_base = const_cast<std::byte*>(data.data()), .iov_len = data.size()};
    std::span<iovec> parts(&part, 1);
    consume(parts, HAKO_TRY(send_some(parts, fd, wait)));
    return send(parts, wait);
}

Outcome<> SocketStream::receive(std::span<iovec> parts, const Wait& wait) {
    take_ahead(parts);
    while (!parts.empty())
        HAKO_TRY(receive_some(parts, wait));
    return {};
}

void SocketStream::take_ahead(std::span<iovec>& parts) {
    consume(parts, 0);
    while (!parts.empty() && !ahead_left_.empty()) {
        const std::size_t count = std::min(parts.front().iov_len, ahead_left_.size());
        std::memcpy(parts.front().iov_base, ahead_left_.data(), count);
        ahead_left_ = ahead_left_.subspan(count);
        consume(parts, count);
    }
}

/// Nothing is left of what was read ahead.
Outcome<> SocketStream::receive_some(std::span<iovec>& parts, const Wait& wait) {
    std::array<iovec, kMaxParts + 1> all{};
    const std::size_t count = std::min(parts.size(), kMaxParts);
    const auto end = std::ranges::copy(parts.first(count), all.begin()).out;
    *end = {.iov_base = ahead_.data(), .iov_len = count == parts.size() ? ahead_.size() : 0};
    for (;;) {
        FdControl<kMaxWaitingFds> control;
        msghdr message{};
        message.msg_iov = all.data();
        message.msg_iovlen = count + 1;
        control.receive_with(message);
        const ssize_t received = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (received < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return std::unexpected(socket_failure(errno, "cannot receive"));
            HAKO_TRY(wait_ready(socket_.get(), POLLIN, wait));
            continue;
        }
        take_fds(message, fds_);
        if (fds_.size() > kMaxWaitingFds || (message.msg_flags & MSG_CTRUNC) != 0) {
            fds_.clear();
            return fail_as(Event::kGarbage, "the peer sent descriptors that nobody asked for");
        }
        if (received == 0) return fail_as(Event::kLost, "the peer closed the connection");
        std::size_t asked = 0;
        for (const iovec& part : parts.first(count))
            asked += part.iov_len;
        const std::size_t came = static_cast<std::size_t>(received);
        if (came > asked) ahead_left_ = std::span(ahead_).first(came - asked);
        consume(parts, std::min(came, asked));
        return {};
    }
}

std::optional<Fd> SocketStream::take_fd() {
    if (fds_.empty()) return std::nullopt;
    Fd oldest = std::move(fds_.front());
    fds_.erase(fds_.begin());
    return oldest;
}

void SocketStream::shut_down() {
    ::shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace hako::migration
