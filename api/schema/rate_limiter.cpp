#include "api/schema/rate_limiter.h"

#include <algorithm>
#include <chrono>

namespace hako::api {
namespace {

io::Rate to_rate(const std::optional<TokenBucket>& bucket) {
    if (!bucket) return {};
    return {.tokens = bucket->size,
            .interval = std::chrono::milliseconds(bucket->refill_time),
            .burst = 0,
            .one_time_burst = bucket->one_time_burst.value_or(0)};
}

std::optional<TokenBucket> from_rate(const io::Rate& rate) {
    __extension__ using Wide = unsigned __int128;
    if (!rate.limited()) return std::nullopt;
    TokenBucket bucket;
    bucket.size = rate.burst == 0 ? rate.tokens : rate.burst;
    if (rate.one_time_burst != 0) bucket.one_time_burst = rate.one_time_burst;
    const Wide time = static_cast<Wide>(bucket.size) * static_cast<Wide>(rate.interval.count()) / rate.tokens;
    bucket.refill_time =
        static_cast<std::uint64_t>(std::clamp(time, static_cast<Wide>(1), static_cast<Wide>(kMaxRefillTime)));
    return bucket;
}

}  // namespace

io::RateLimits to_machine(const RateLimiterConfig& config) {
    return {.bytes = to_rate(config.bandwidth), .operations = to_rate(config.ops)};
}

std::optional<RateLimiterConfig> from_machine(const io::RateLimits& limits) {
    RateLimiterConfig config;
    config.bandwidth = from_rate(limits.bytes);
    config.ops = from_rate(limits.operations);
    if (!config.bandwidth && !config.ops) return std::nullopt;
    return config;
}

}  // namespace hako::api
