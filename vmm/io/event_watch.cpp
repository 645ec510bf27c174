#include "vmm/io/event_watch.h"

#include <poll.h>
#include <unistd.h>

namespace hako::io {

void EventWatch::start(int eventfd) {
    eventfd_ = eventfd;
    stopping_ = false;
    active_ = true;
    arm();
}

void EventWatch::arm() {
    io_uring_prep_poll_multishot(&engine_.prepare(this), eventfd_, POLLIN);
}

void EventWatch::stop() {
    if (!active_ || stopping_) return;
    stopping_ = true;
    io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<Completion*>(this), 0);
}

void EventWatch::complete(std::int32_t result, std::uint32_t flags) {
    if ((flags & IORING_CQE_F_MORE) == 0) {
        if (stopping_ || result < 0) {
            active_ = false;
        } else {
            // The kernel ended the multishot (its completion queue was full). A new poll fires at once while
            // the counter is not 0, so take it; what it counted is served by the work scheduled below.
            std::uint64_t count = 0;
            [[maybe_unused]] const ssize_t taken = ::read(eventfd_, &count, sizeof count);
            arm();
        }
    }
    engine_.schedule(work_);
}

}  // namespace hako::io
