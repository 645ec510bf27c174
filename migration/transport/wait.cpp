#include "migration/transport/wait.h"

#include <poll.h>

#include <algorithm>
#include <array>

namespace hako::migration {
namespace {

constexpr milliseconds kLongestPoll{60'000};

/// Rounded up, so that a wait is not over before its time.
int poll_timeout(Clock::duration left) {
    const auto whole = std::chrono::ceil<milliseconds>(left);
    return static_cast<int>(std::clamp(whole, milliseconds(0), kLongestPoll).count());
}

}  // namespace

Result<std::unique_ptr<Stop>> Stop::create() {
    return std::unique_ptr<Stop>(new Stop(HAKO_TRY(EventFd::create())));
}

bool Stop::raise(Failure reason) {
    const std::lock_guard lock(mutex_);
    if (sealed_ || reason_) return false;
    reason_ = std::move(reason);
    event_.signal();
    return true;
}

bool Stop::seal() {
    const std::lock_guard lock(mutex_);
    if (reason_) return false;
    sealed_ = true;
    return true;
}

std::optional<Failure> Stop::reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
}

Outcome<> wait_ready(int fd, short events, const Wait& wait) {
    const Clock::time_point start = Clock::now();
    const Clock::time_point end = std::min(wait.until, start + wait.silence);
    std::array<pollfd, 2> polled{
        {{.fd = fd, .events = events, .revents = 0},
         {.fd = wait.stop != nullptr ? wait.stop->fd() : -1, .events = POLLIN, .revents = 0}}};
    for (;;) {
        const int ready = ::poll(polled.data(), polled.size(), poll_timeout(end - Clock::now()));
        if (ready < 0 && errno != EINTR) return fail_as(Event::kLocal, "poll: {}", errno_text(errno));
        if (ready > 0 && polled[1].revents != 0) {
            if (auto reason = wait.stop->reason()) return std::unexpected(std::move(*reason));
        }
        if (ready > 0 && polled[0].revents != 0) return {};
        if (Clock::now() >= end)
            return fail_as(Event::kTimeout, "the peer was silent for {} ms",
                           std::chrono::duration_cast<milliseconds>(Clock::now() - start).count());
    }
}

Outcome<> sleep_for(std::chrono::nanoseconds time, const Stop* stop) {
    const Clock::time_point end = Clock::now() + time;
    pollfd polled{.fd = stop != nullptr ? stop->fd() : -1, .events = POLLIN, .revents = 0};
    while (Clock::now() < end) {
        if (::poll(&polled, 1, poll_timeout(end - Clock::now())) <= 0) continue;
        if (auto reason = stop->reason()) return std::unexpected(std::move(*reason));
    }
    return {};
}

}  // namespace hako::migration
