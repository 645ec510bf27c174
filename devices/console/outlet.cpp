#include "devices/console/outlet.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace hako::console {

Outlet::Outlet(io::Engine& engine, History& history, io::BatchWork& work, Lag lag,
               std::chrono::milliseconds patience, Counter& dropped)
    : engine_(engine),
      history_(history),
      work_(work),
      lag_(lag),
      patience_(patience),
      dropped_(dropped),
      timer_(engine, work) {}

void Outlet::attach(int fd, Target target) {
    fd_ = fd;
    target_ = target;
    // io_uring would make the write itself wait, and the history with it.
    rw_flags_ = target == Target::kStream ? RWF_NOWAIT : 0;
    poll_first_ = false;
    ready_ = false;
    lagging_ = false;
    waited_ = false;
    error_ = 0;
    engine_.schedule(work_);
}

void Outlet::detach() {
    if (fd_ < 0) return;
    fd_ = -1;
    timer_.stop();
    if (state_ != State::kIdle)
        io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<io::Completion*>(this), 0);
    engine_.schedule(work_);
}

void Outlet::skip() {
    error_ = 0;
    position_ += std::exchange(writing_, 0);
}

void Outlet::pump() {
    wait_patiently();
    if (fd_ < 0 || error_ != 0 || state_ != State::kIdle || position_ == history_.end()) return;
    if (poll_first_ && !std::exchange(ready_, false)) return wait_for_room();
    // Half a ring at a time: the guest fills the other half meanwhile.
    const unsigned count = history_.pieces(position_, history_.capacity() / 2, pieces_);
    writing_ = pieces_[0].iov_len + (count > 1 ? pieces_[1].iov_len : 0);
    state_ = State::kWriting;
    io_uring_sqe& entry = engine_.prepare(this);
    if (target_ == Target::kSocket) {
        message_ = {};
        message_.msg_iov = pieces_.data();
        message_.msg_iovlen = count;
        io_uring_prep_sendmsg(&entry, fd_, &message_, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
        io_uring_prep_writev2(&entry, fd_, pieces_.data(), count, static_cast<std::uint64_t>(-1), rw_flags_);
    }
}

void Outlet::complete(std::int32_t result, std::uint32_t /*flags*/) {
    engine_.schedule(work_);
    if (std::exchange(state_, State::kIdle) == State::kBlocked) {
        ready_ = result > 0;
        return;
    }
    if (result > 0) {
        position_ += static_cast<std::uint32_t>(result);
        writing_ = 0;
        waited_ = false;
        timer_.stop();
        if (position_ == history_.end()) lagging_ = false;
    } else if (result == -EOPNOTSUPP && rw_flags_ != 0) {
        rw_flags_ = 0;
        poll_first_ = true;
    } else if (result == -EAGAIN || result == 0) {
        // A terminal may take nothing without calling it EAGAIN.
        if (fd_ >= 0) wait_for_room();
    } else if (result != -EINTR && result != -ECANCELED) {
        error_ = -result;
    }
}

void Outlet::wait_for_room() {
    state_ = State::kBlocked;
    io_uring_prep_poll_add(&engine_.prepare(this), fd_, POLLOUT);
}

void Outlet::wait_patiently() {
    if (lag_ == Lag::kWait || lagging_ || timer_.active() || fd_ < 0) return;
    if (waited_) {
        // The time is over, and nothing was taken.
        waited_ = false;
        lagging_ = true;
    } else if (state_ == State::kBlocked) {
        waited_ = true;
        timer_.start(patience_);
    }
}

void Outlet::overwritten() {
    if (position_ >= history_.begin()) return;
    if (lag_ == Lag::kDrop) dropped_.add(history_.begin() - position_);
    position_ = history_.begin();
}

std::uint64_t Outlet::held() const {
    if (state_ == State::kWriting) return position_;
    // What a full disk did not take is skipped, what came after it is not.
    const bool nobody = fd_ < 0 || (error_ != 0 && lag_ == Lag::kDrop);
    return nobody || lagging_ ? history_.end() : position_;
}

}  // namespace hako::console
