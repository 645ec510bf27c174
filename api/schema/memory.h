// Guest memory as Cloud Hypervisor's clients describe it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "api/json/fields.h"
#include "api/schema/opaque.h"
#include "vmm/base/units.h"

namespace hako::api {

enum class HotplugMethod { kAcpi, kVirtioMem };

/// hako's memory is always shared (a memfd). What vm.resize brings counts in `size`, of which
/// `boot_size` tells the rest then.
struct MemoryConfig {
    std::uint64_t size = 512 * MiB;          ///< bytes, a multiple of 1 MiB
    std::optional<std::uint64_t> boot_size;  ///< hako's own: of `size`, what is not hotplugged, bytes
    std::optional<std::uint64_t> hotplug_size;
    std::optional<std::uint64_t> hotplugged_size;
    bool mergeable = false;
    HotplugMethod hotplug_method = HotplugMethod::kAcpi;
    bool shared = false;
    bool hugepages = false;
    std::optional<std::uint64_t> hugepage_size;  ///< bytes: 2 MiB or 1 GiB
    bool prefault = false;
    bool reserve = false;
    bool thp = true;
    std::optional<std::vector<Opaque>> zones;

    bool operator==(const MemoryConfig&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Names<hako::api::HotplugMethod> {
    static constexpr std::array list = {Name{HotplugMethod::kAcpi, "Acpi"},
                                        Name{HotplugMethod::kVirtioMem, "VirtioMem"}};
};

template <>
struct hako::api::json::Fields<hako::api::MemoryConfig> {
    using T = MemoryConfig;
    static constexpr auto list =
        std::tuple(required("size", &T::size), field("boot_size", &T::boot_size),
                   field("hotplug_size", &T::hotplug_size), field("hotplugged_size", &T::hotplugged_size),
                   field("mergeable", &T::mergeable), field("hotplug_method", &T::hotplug_method),
                   field("shared", &T::shared), field("hugepages", &T::hugepages),
                   field("hugepage_size", &T::hugepage_size), field("prefault", &T::prefault),
                   field("reserve", &T::reserve), field("thp", &T::thp), field("zones", &T::zones));
};
