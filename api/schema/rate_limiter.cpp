#include "api/schema/rate_limiter.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "api/schema/refusal.h"

namespace hako::api {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kMillisecondsOfSecond = 1000;
constexpr std::uint64_t kMostTokens = std::numeric_limits<std::uint64_t>::max();

Result<io::Rate> to_rate(const std::optional<TokenBucket>& bucket, const json::Place& place,
                         std::string_view name) {
    if (!bucket || bucket->size == 0 || bucket->refill_time == 0) return io::Rate{};
    const Wide wanted = static_cast<Wide>(bucket->size) * kMillisecondsOfSecond / bucket->refill_time;
    if (wanted > kMostTokens)
        return refuse(place, name, "a rate below 2^64 tokens a second",
                      fmt::format("{} in {} ms", bucket->size, bucket->refill_time));
    return io::Rate{.per_second = std::max(std::uint64_t{1}, static_cast<std::uint64_t>(wanted)),
                    .burst = bucket->size};
}

std::optional<TokenBucket> from_rate(const io::Rate& rate) {
    if (rate.per_second == 0) return std::nullopt;
    TokenBucket bucket;
    bucket.size = rate.burst == 0 ? rate.per_second : rate.burst;
    const Wide time = static_cast<Wide>(bucket.size) * kMillisecondsOfSecond / rate.per_second;
    bucket.refill_time =
        static_cast<std::uint64_t>(std::clamp(time, static_cast<Wide>(1), static_cast<Wide>(kMostTokens)));
    return bucket;
}

}  // namespace

Result<io::RateLimits> to_machine(const RateLimiterConfig& config, const json::Place& place) {
    io::RateLimits limits;
    limits.bytes = HAKO_TRY(to_rate(config.bandwidth, place, "bandwidth"));
    limits.operations = HAKO_TRY(to_rate(config.ops, place, "ops"));
    return limits;
}

std::optional<RateLimiterConfig> from_machine(const io::RateLimits& limits) {
    RateLimiterConfig config;
    config.bandwidth = from_rate(limits.bytes);
    config.ops = from_rate(limits.operations);
    if (!config.bandwidth && !config.ops) return std::nullopt;
    return config;
}

}  // namespace hako::api
