#include "virtio/net/tap_watch.h"

#include <poll.h>

#include <cerrno>

namespace hako::virtio::net {

void TapWatch::start(const io::FileRef& tap) {
    tap_ = tap;
    wanted_ = true;
    hushed_ = false;
    ready_ = true;  // what came in before nobody tells of
    if (!active_) arm();
    engine_.schedule(work_);
}

void TapWatch::arm() {
    active_ = true;
    io_uring_sqe& entry = engine_.prepare(this);
    io_uring_prep_poll_multishot(&entry, tap_.fd, POLLIN);
    entry.flags |= tap_.sqe_flags();
}

void TapWatch::stop() {
    if (!wanted_) return;
    wanted_ = false;
    ready_ = false;
    cancel();
}

void TapWatch::cancel() {
    if (active_) io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<io::Completion*>(this), 0);
}

void TapWatch::hush() {
    if (hushed_) return;
    hushed_ = true;
    cancel();
}

void TapWatch::listen() {
    if (!hushed_) return;
    hushed_ = false;
    if (wanted_ && !active_) arm();
}

void TapWatch::complete(std::int32_t result, std::uint32_t flags) {
    if ((flags & IORING_CQE_F_MORE) == 0) {
        active_ = false;
        // The kernel ended the multishot (its completion queue was full), or start() came right after stop().
        if (wanted_ && !hushed_ && (result >= 0 || result == -ECANCELED)) arm();
    }
    // An error, too: the read that follows says which.
    ready_ = wanted_;
    engine_.schedule(work_);
}

}  // namespace hako::virtio::net
