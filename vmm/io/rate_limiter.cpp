#include "vmm/io/rate_limiter.h"

#include <algorithm>

namespace hako::io {

// A bucket holds or owes at most 2^65 tokens of less than 2^50 parts each, and 2^63 ns at 2^64 tokens an
// interval bring less than 2^127 parts: none of the sums below leaves 128 bits.

TokenBucket::TokenBucket(const Rate& rate, Time now) : filled_(now) {
    set_rate(rate, now);
    level_ += full();
}

void TokenBucket::set_rate(const Rate& rate, Time now) {
    const bool was_limited = limited();
    if (was_limited) refill(now);
    const Parts old_parts = parts_of_token_;
    rate_ = rate.limited() ? rate.tokens : 0;
    parts_of_token_ =
        std::max<Parts>(std::chrono::nanoseconds(std::min(rate.interval, kMaxInterval)).count(), 1);
    burst_ = rate.burst != 0 ? rate.burst : rate.tokens;
    const Parts in_a_millisecond = Parts{rate_} * 1'000'000 / parts_of_token_;
    some_ = static_cast<std::uint64_t>(std::clamp<Parts>(in_a_millisecond, 1, std::max<Parts>(burst_, 1)));
    if (was_limited) {
        level_ = level_ / old_parts * parts_of_token_ + level_ % old_parts * parts_of_token_ / old_parts;
        // A debt from faster days would otherwise hold a slower device for hours.
        level_ = std::clamp(level_, -full(), full());
    } else {
        level_ = 0;
        filled_ = now;
    }
    level_ += parts_of_token_ * rate.one_time_burst;
}

std::uint64_t TokenBucket::available(Time now) {
    if (!limited()) return kUnlimited;
    refill(now);
    return static_cast<std::uint64_t>(std::clamp<Parts>(level_ / parts_of_token_, 0, kUnlimited));
}

std::chrono::nanoseconds TokenBucket::wait(std::uint64_t tokens, Time now) {
    using std::chrono::nanoseconds;
    if (!limited() || tokens == 0) return nanoseconds::zero();
    refill(now);
    const Parts missing = parts_of_token_ * std::min(tokens, burst_) - level_;
    if (missing <= 0) return nanoseconds::zero();
    const Parts time = (missing + rate_ - 1) / rate_;
    return nanoseconds(static_cast<nanoseconds::rep>(std::min<Parts>(time, nanoseconds::max().count())));
}

std::chrono::nanoseconds TokenBucket::wait_for_some(Time now) {
    return available(now) > 0 ? std::chrono::nanoseconds::zero() : wait(some_, now);
}

void TokenBucket::take(std::uint64_t tokens, Time now) {
    if (!limited()) return;
    refill(now);
    // Owing is bounded too, if a caller takes without having asked.
    level_ = std::max(level_ - parts_of_token_ * tokens, -parts_of_token_ * kUnlimited);
}

void TokenBucket::refill(Time now) {
    if (now <= filled_) return;
    const Parts gained = Parts{(now - filled_).count()} * rate_;
    filled_ = now;
    level_ += std::min(gained, std::max<Parts>(full() - level_, 0));
}

RateLimiter::RateLimiter(const RateLimits& limits, Time now)
    : bytes_(limits.bytes, now), operations_(limits.operations, now) {}

void RateLimiter::set_limits(const RateLimits& limits, Time now) {
    bytes_.set_rate(limits.bytes, now);
    operations_.set_rate(limits.operations, now);
}

std::chrono::nanoseconds RateLimiter::wait(std::uint64_t bytes, Time now) {
    return std::max(bytes_.wait(bytes, now), operations_.wait(1, now));
}

std::chrono::nanoseconds RateLimiter::wait_for_some(Time now) {
    return std::max(bytes_.wait_for_some(now), operations_.wait_for_some(now));
}

void RateLimiter::take(std::uint64_t bytes, Time now) {
    bytes_.take(bytes, now);
    operations_.take(1, now);
}

}  // namespace hako::io
