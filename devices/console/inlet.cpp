#include "devices/console/inlet.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace hako::console {

Inlet::Inlet(io::Engine& engine, io::BatchWork& work) : engine_(engine), work_(work) {
    pending_.reserve(2 * kBuffer);
}

void Inlet::watch_escape(std::function<void()> on_quit) {
    has_escape_ = true;
    on_quit_ = std::move(on_quit);
}

void Inlet::attach(int fd) {
    fd_ = fd;
    ended_ = false;
    ready_ = false;
    engine_.schedule(work_);
}

void Inlet::detach() {
    if (fd_ < 0) return;
    fd_ = -1;
    if (state_ != State::kIdle)
        io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<io::Completion*>(this), 0);
    engine_.schedule(work_);
}

void Inlet::pump() {
    if (fd_ < 0 || ended_ || state_ != State::kIdle || (!bytes().empty() && !has_escape_)) return;
    reading_ = fd_;
    if (!ready_) {
        state_ = State::kPolling;
        io_uring_prep_poll_add(&engine_.prepare(this), fd_, POLLIN);
        return;
    }
    ready_ = false;
    if (may_read_ && !may_read_()) return detach();
    state_ = State::kReading;
    // From where the file stands, if it has a position.
    io_uring_prep_read(&engine_.prepare(this), fd_, buffer_.data(), std::uint32_t{kBuffer},
                       static_cast<std::uint64_t>(-1));
}

void Inlet::complete(std::int32_t result, std::uint32_t /*flags*/) {
    engine_.schedule(work_);
    const State state = std::exchange(state_, State::kIdle);
    // It may be another one's by now: what was read of the last one counts, how that ended does not.
    const bool current = reading_ == fd_;
    if (state == State::kPolling) {
        ready_ = current && result > 0;
    } else if (result > 0) {
        received(std::span(buffer_).first(static_cast<std::size_t>(result)));
    } else if (current && result != -EAGAIN && result != -EINTR && result != -ECANCELED) {
        ended_ = true;
    }
}

void Inlet::received(std::span<const std::uint8_t> bytes) {
    if (taken_ == pending_.size()) {
        pending_.clear();
        taken_ = 0;
    }
    if (!has_escape_) {
        pending_.insert(pending_.end(), bytes.begin(), bytes.end());
        return;
    }
    if (escape_.filter(bytes, pending_) && on_quit_) on_quit_();
    if (pending_.size() > kBuffer) pending_.resize(std::max(kBuffer, taken_));
}

void Inlet::take(std::size_t count) {
    taken_ += count;
    if (taken_ < pending_.size()) return;
    pending_.clear();
    taken_ = 0;
}

}  // namespace hako::console
