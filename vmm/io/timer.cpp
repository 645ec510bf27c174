#include "vmm/io/timer.h"

namespace hako::io {

void Timer::start(std::chrono::nanoseconds delay) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(delay);
    delay_ = {.tv_sec = seconds.count(), .tv_nsec = (delay - seconds).count()};
    active_ = true;
    stopping_ = false;
    io_uring_prep_timeout(&engine_.prepare(this), &delay_, 0, 0);
}

void Timer::stop() {
    if (!active_ || stopping_) return;
    stopping_ = true;
    io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<Completion*>(this), 0);
}

void Timer::complete(std::int32_t /*result*/, std::uint32_t /*flags*/) {
    // ETIME when it is over, ECANCELED after stop().
    active_ = false;
    engine_.schedule(work_);
}

}  // namespace hako::io
