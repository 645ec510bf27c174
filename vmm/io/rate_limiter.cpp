#include "vmm/io/rate_limiter.h"

#include <algorithm>

namespace hako::io {

// A bucket holds or owes less than 2^64 tokens of 2^30 parts each, and 2^63 ns at 2^64 tokens a second bring
// less than 2^127 parts: none of the sums below leaves 128 bits.

TokenBucket::TokenBucket(const Rate& rate, Time now) : filled_(now) {
    set_rate(rate, now);
}

void TokenBucket::set_rate(const Rate& rate, Time now) {
    const bool was_limited = limited();
    if (was_limited) refill(now);
    rate_ = rate.per_second;
    burst_ = rate.burst != 0 ? rate.burst : rate.per_second;
    const Parts full = kPartsOfToken * burst_;
    // A debt from faster days would otherwise hold a slower device for hours.
    level_ = was_limited ? std::clamp(level_, -full, full) : full;
    if (!was_limited) filled_ = now;
}

std::uint64_t TokenBucket::available(Time now) {
    if (!limited()) return kUnlimited;
    refill(now);
    return static_cast<std::uint64_t>(std::max<Parts>(level_, 0) / kPartsOfToken);
}

std::chrono::nanoseconds TokenBucket::wait(std::uint64_t tokens, Time now) {
    using std::chrono::nanoseconds;
    if (!limited() || tokens == 0) return nanoseconds::zero();
    refill(now);
    const Parts missing = kPartsOfToken * std::min(tokens, burst_) - level_;
    if (missing <= 0) return nanoseconds::zero();
    const Parts time = (missing + rate_ - 1) / rate_;
    return nanoseconds(static_cast<nanoseconds::rep>(std::min<Parts>(time, nanoseconds::max().count())));
}

void TokenBucket::take(std::uint64_t tokens, Time now) {
    if (!limited()) return;
    refill(now);
    // Owing is bounded too, if a caller takes without having asked.
    level_ = std::max(level_ - kPartsOfToken * tokens, -kPartsOfToken * kUnlimited);
}

void TokenBucket::refill(Time now) {
    if (now <= filled_) return;
    const Parts gained = Parts{(now - filled_).count()} * rate_;
    filled_ = now;
    level_ += std::min(gained, kPartsOfToken * burst_ - level_);
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

void RateLimiter::take(std::uint64_t bytes, Time now) {
    bytes_.take(bytes, now);
    operations_.take(1, now);
}

}  // namespace hako::io
