// Rate limits as Cloud Hypervisor's clients give them.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>

#include "api/json/fields.h"
#include "vmm/io/rate_limiter.h"

namespace hako::api {

inline constexpr std::uint64_t kMaxRefillTime = io::kMaxInterval.count();

/// `size` tokens come in every `refill_time` milliseconds, and as many go at once. One of them 0: no limit.
struct TokenBucket {
    std::uint64_t size = 0;
    std::optional<std::uint64_t> one_time_burst;  ///< beyond that, and never again
    std::uint64_t refill_time = 0;                ///< milliseconds, at most kMaxRefillTime

    bool operator==(const TokenBucket&) const = default;
};

struct RateLimiterConfig {
    std::optional<TokenBucket> bandwidth;  ///< bytes
    std::optional<TokenBucket> ops;

    bool operator==(const RateLimiterConfig&) const = default;
};

[[nodiscard]] io::RateLimits to_machine(const RateLimiterConfig& config);
/// Nothing without a limit. A burst of its own becomes the bucket's size, and its time follows.
[[nodiscard]] std::optional<RateLimiterConfig> from_machine(const io::RateLimits& limits);

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::TokenBucket> {
    static constexpr auto list = std::tuple(
        required("size", &TokenBucket::size), field("one_time_burst", &TokenBucket::one_time_burst),
        required("refill_time", &TokenBucket::refill_time, {.max = kMaxRefillTime}));
};

template <>
struct hako::api::json::Fields<hako::api::RateLimiterConfig> {
    static constexpr auto list =
        std::tuple(field("bandwidth", &RateLimiterConfig::bandwidth), field("ops", &RateLimiterConfig::ops));
};
