// The board, as Cloud Hypervisor's clients describe it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"
#include "vmm/memory/layout.h"

namespace hako::api {

struct PlatformConfig {
    std::uint16_t num_pci_segments = 1;
    std::optional<std::vector<std::uint16_t>> iommu_segments;
    std::optional<std::string> serial_number;
    std::optional<std::string> system_serial_number;
    std::optional<std::string> uuid;
    std::optional<std::string> system_uuid;
    std::optional<std::vector<std::string>> oem_strings;
    bool tdx = false;
    bool sev_snp = false;
    bool iommufd = false;

    bool operator==(const PlatformConfig&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::PlatformConfig> {
    using T = PlatformConfig;
    static constexpr auto list = std::tuple(
        field("num_pci_segments", &T::num_pci_segments, {.min = 1, .max = layout::kMaxPciSegments}),
        field("iommu_segments", &T::iommu_segments), field("serial_number", &T::serial_number),
        field("system_serial_number", &T::system_serial_number), field("uuid", &T::uuid),
        field("system_uuid", &T::system_uuid), field("oem_strings", &T::oem_strings), field("tdx", &T::tdx),
        field("sev_snp", &T::sev_snp), field("iommufd", &T::iommufd));
};
