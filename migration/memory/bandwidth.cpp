#include "migration/memory/bandwidth.h"

#include <algorithm>

namespace hako::migration {
namespace {

constexpr milliseconds kLook{100};

/// A burst of a twentieth of a second: the wire is used evenly.
io::Rate rate_of(std::uint64_t bytes_per_second) {
    return {.tokens = bytes_per_second, .burst = std::max<std::uint64_t>(bytes_per_second / 20, 1)};
}

}  // namespace

BandwidthLimit::BandwidthLimit(std::uint64_t bytes_per_second)
    : bucket_(rate_of(bytes_per_second), Clock::now()) {}

void BandwidthLimit::set(std::uint64_t bytes_per_second) {
    const std::lock_guard lock(mutex_);
    bucket_.set_rate(rate_of(bytes_per_second), Clock::now());
}

std::chrono::nanoseconds BandwidthLimit::wait_for_some() {
    const std::lock_guard lock(mutex_);
    return std::min<std::chrono::nanoseconds>(bucket_.wait_for_some(Clock::now()), kLook);
}

void BandwidthLimit::take(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    bucket_.take(bytes, Clock::now());
}

Outcome<> BandwidthLimit::acquire(std::uint64_t bytes, const Stop* stop) {
    for (;;) {
        std::chrono::nanoseconds wait{0};
        {
            const std::lock_guard lock(mutex_);
            const Clock::time_point now = Clock::now();
            wait = bucket_.wait_for_some(now);
            if (wait.count() == 0) {
                bucket_.take(bytes, now);
                return {};
            }
        }
        HAKO_TRY(sleep_for(std::min<std::chrono::nanoseconds>(wait, kLook), stop));
    }
}

}  // namespace hako::migration
