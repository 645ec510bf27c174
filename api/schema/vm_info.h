// What vm.info tells of a VM.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"
#include "api/schema/vm.h"

namespace hako::api {

struct VmInfo {
    VmConfig config;
    std::string state;                     ///< text(VmState): Created, Running, Paused or Shutdown
    std::uint64_t memory_actual_size = 0;  ///< bytes
    std::optional<std::vector<HelperDiskInfo>> helper_disks = std::nullopt;  ///< hako's own, if there are any
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::VmInfo> {
    static constexpr auto list =
        std::tuple(required("config", &VmInfo::config), required("state", &VmInfo::state),
                   field("memory_actual_size", &VmInfo::memory_actual_size),
                   field("helper_disks", &VmInfo::helper_disks));
};
