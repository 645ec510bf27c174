#include "virtio/vsock/host_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace hako::virtio::vsock {

void HostStream::open(Fd fd) {
    fd_ = std::move(fd);
    in_first_ = in_last_ = 0;
    out_first_ = out_last_ = 0;
    ended_ = refused_ = looked_ = hung_up_ = closing_ = receiving_ended_ = sending_ended_ = false;
}

void HostStream::close() {
    if (closing_ || !fd_.valid()) return;
    closing_ = true;
    const auto cancel = [this](io::Completion& operation, bool active) {
        if (active) io_uring_prep_cancel(&engine_.prepare(nullptr), &operation, 0);
    };
    cancel(receive_, receive_.active);
    cancel(send_, send_.active);
    cancel(watch_, watch_.active);
    if (!receive_.active && !send_.active && !watch_.active)
        io_uring_prep_close(&engine_.prepare(nullptr), fd_.release());
}

/// After each completion.
void HostStream::changed() {
    if (closing_ && !receive_.active && !send_.active && !watch_.active && fd_.valid())
        io_uring_prep_close(&engine_.prepare(nullptr), fd_.release());
    user_.stream_changed();
}

void HostStream::receive() {
    if (in_first_ == in_last_) in_first_ = in_last_ = 0;
    if (receive_.active || ended_ || closing_ || in_last_ == kInBytes) return;
    receive_.active = true;
    io_uring_prep_recv(&engine_.prepare(&receive_), fd_.get(), in_ + in_last_, kInBytes - in_last_, 0);
}

void HostStream::Receive::complete(std::int32_t result, std::uint32_t /*flags*/) {
    active = false;
    if (result > 0) {
        stream.in_last_ += static_cast<std::size_t>(result);
    } else if (result != -EINTR && result != -EAGAIN && result != -ECANCELED) {
        stream.ended_ = true;
    }
    stream.changed();
}

void HostStream::end_receiving() {
    if (std::exchange(receiving_ended_, true) || !fd_.valid()) return;
    ::shutdown(fd_.get(), SHUT_RD);
}

std::array<std::span<std::byte>, 2> HostStream::room(std::size_t count) {
    const std::size_t at = out_last_ & (kOutBytes - 1);
    const std::size_t free = std::min(count, kOutBytes - waiting());
    const std::size_t until_end = std::min(free, kOutBytes - at);
    return {std::span(out_ + at, until_end), std::span(out_, free - until_end)};
}

void HostStream::written(std::size_t count) {
    out_last_ += count;
    if (refused_) drop_waiting();
}

void HostStream::send() {
    if (send_.active || closing_ || refused_ || waiting() == 0) return;
    const std::size_t at = out_first_ & (kOutBytes - 1);
    const std::size_t count = std::min(waiting(), kOutBytes - at);
    send_.active = true;
    io_uring_prep_send(&engine_.prepare(&send_), fd_.get(), out_ + at, count, MSG_NOSIGNAL);
}

void HostStream::Send::complete(std::int32_t result, std::uint32_t /*flags*/) {
    active = false;
    if (result > 0) {
        stream.out_first_ += static_cast<std::size_t>(result);
    } else if (result != -EINTR && result != -EAGAIN && result != -ECANCELED) {
        stream.refused_ = true;
        stream.drop_waiting();
    }
    stream.changed();
}

void HostStream::end_sending() {
    if (waiting() != 0 || !fd_.valid() || std::exchange(sending_ended_, true)) return;
    ::shutdown(fd_.get(), SHUT_WR);
}

void HostStream::watch() {
    if (watch_.active || looked_ || closing_) return;
    arm_watch();
}

void HostStream::arm_watch() {
    watch_.active = true;
    // A poll of the ring ends for POLLRDHUP too, which is so already: the first completion comes at once, and
    // each later one when the other end does something.
    io_uring_prep_poll_multishot(&engine_.prepare(&watch_), fd_.get(), POLLHUP);
}

void HostStream::Watch::complete(std::int32_t result, std::uint32_t flags) {
    stream.looked_ = true;
    if (result < 0 || (result & (POLLHUP | POLLERR)) != 0) stream.hung_up_ = true;
    if ((flags & IORING_CQE_F_MORE) == 0) {
        active = false;
        if (!stream.hung_up_ && !stream.closing_) stream.arm_watch();
    }
    stream.changed();
}

}  // namespace hako::virtio::vsock
