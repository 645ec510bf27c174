// Devices that come and go, as the API names them.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "api/json/fields.h"

namespace hako::api {

/// What a client gets for a device that it added.
struct PciDeviceInfo {
    std::string id;
    std::string bdf;  ///< "0000:00:06.0"

    bool operator==(const PciDeviceInfo&) const = default;
};

struct VmRemoveDevice {
    std::string id;
    bool force = false;  ///< hako's own: at once, without asking the guest

    bool operator==(const VmRemoveDevice&) const = default;
};

struct VmResizeDisk {
    std::string id;
    std::uint64_t desired_size = 0;  ///< bytes, a multiple of 512; no less than now

    bool operator==(const VmResizeDisk&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::PciDeviceInfo> {
    static constexpr auto list =
        std::tuple(required("id", &PciDeviceInfo::id), required("bdf", &PciDeviceInfo::bdf));
};

template <>
struct hako::api::json::Fields<hako::api::VmRemoveDevice> {
    static constexpr auto list =
        std::tuple(required("id", &VmRemoveDevice::id), field("force", &VmRemoveDevice::force));
};

template <>
struct hako::api::json::Fields<hako::api::VmResizeDisk> {
    using T = VmResizeDisk;
    static constexpr auto list =
        std::tuple(required("id", &T::id), required("desired_size", &T::desired_size));
};
