// Rate limits as Cloud Hypervisor's clients give them.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "vmm/base/result.h"
#include "vmm/io/rate_limiter.h"

namespace hako::api {

/// `size` tokens come in every `refill_time` milliseconds, and as many go at once. One of them 0: no limit.
struct TokenBucket {
    std::uint64_t size = 0;
    std::optional<std::uint64_t> one_time_burst;  ///< taken, and not granted: hako's buckets have one burst
    std::uint64_t refill_time = 0;                ///< milliseconds

    bool operator==(const TokenBucket&) const = default;
};

struct RateLimiterConfig {
    std::optional<TokenBucket> bandwidth;  ///< bytes
    std::optional<TokenBucket> ops;

    bool operator==(const RateLimiterConfig&) const = default;
};

/// Rates are rounded to whole tokens a second, at least 1.
[[nodiscard]] Result<io::RateLimits> to_machine(const RateLimiterConfig& config, const json::Place& place);
/// Nothing without a limit.
[[nodiscard]] std::optional<RateLimiterConfig> from_machine(const io::RateLimits& limits);

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::TokenBucket> {
    static constexpr auto list =
        std::tuple(required("size", &TokenBucket::size), field("one_time_burst", &TokenBucket::one_time_burst),
                   required("refill_time", &TokenBucket::refill_time));
};

template <>
struct hako::api::json::Fields<hako::api::RateLimiterConfig> {
    static constexpr auto list = std::tuple(field("bandwidth", &RateLimiterConfig::bandwidth),
                                            field("ops", &RateLimiterConfig::ops));
};
