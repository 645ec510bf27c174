// How large a VM is to be, as Cloud Hypervisor's clients say it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"

namespace hako::api {

/// What is left out stays as it is.
struct VmResize {
    std::optional<std::uint32_t> desired_vcpus;
    std::optional<std::uint64_t> desired_ram;      ///< bytes
    std::optional<std::uint64_t> desired_balloon;  ///< bytes

    bool operator==(const VmResize&) const = default;
};

struct VmResizeZone {
    std::string id;
    std::uint64_t desired_ram = 0;  ///< bytes

    bool operator==(const VmResizeZone&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::VmResize> {
    using T = VmResize;
    static constexpr auto list =
        std::tuple(field("desired_vcpus", &T::desired_vcpus, {.min = 1}),
                   field("desired_ram", &T::desired_ram), field("desired_balloon", &T::desired_balloon));
};

template <>
struct hako::api::json::Fields<hako::api::VmResizeZone> {
    using T = VmResizeZone;
    static constexpr auto list = std::tuple(required("id", &T::id), required("desired_ram", &T::desired_ram));
};
