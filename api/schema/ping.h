// Who answers.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"

namespace hako::api {

struct VmmPingResponse {
    std::string build_version;
    std::string version;
    std::uint32_t pid = 0;
    std::vector<std::string> features;

    bool operator==(const VmmPingResponse&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::VmmPingResponse> {
    using T = VmmPingResponse;
    static constexpr auto list =
        std::tuple(required("build_version", &T::build_version), required("version", &T::version),
                   required("pid", &T::pid), required("features", &T::features));
};
