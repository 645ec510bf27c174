// hako's own: knobs of devices that run.
#pragma once

#include <string>
#include <tuple>

#include "api/json/fields.h"
#include "api/schema/rate_limiter.h"

namespace hako::api {

struct VmSetLink {
    std::string id;  ///< of a network interface
    bool up = true;

    bool operator==(const VmSetLink&) const = default;
};

struct VmSetLimits {
    std::string id;  ///< of a disk, or of a network interface, of which each direction gets the limits
    RateLimiterConfig rate_limiter_config;  ///< what is left out is without a limit

    bool operator==(const VmSetLimits&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::VmSetLink> {
    using T = VmSetLink;
    static constexpr auto list = std::tuple(required("id", &T::id), required("up", &T::up));
};

template <>
struct hako::api::json::Fields<hako::api::VmSetLimits> {
    using T = VmSetLimits;
    static constexpr auto list =
        std::tuple(required("id", &T::id), required("rate_limiter_config", &T::rate_limiter_config));
};
