// A virtio socket device as Cloud Hypervisor's clients describe it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "virtio/vsock/config.h"
#include "vmm/base/result.h"

namespace hako::api {

struct VsockConfig {
    std::uint64_t cid = 0;
    std::string socket;
    bool iommu = false;
    std::uint16_t pci_segment = 0;
    std::optional<std::uint8_t> pci_device_id;
    std::optional<std::string> id;

    bool operator==(const VsockConfig&) const = default;
};

/// `config.id` is set. Refusals name the field, as part of what is at `place`.
[[nodiscard]] Result<virtio::vsock::Config> to_machine(const VsockConfig& config,
                                                       const json::Place& place = {});
[[nodiscard]] VsockConfig from_machine(const virtio::vsock::Config& config);

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::VsockConfig> {
    using T = VsockConfig;
    static constexpr auto list = std::tuple(
        required("cid", &T::cid, {.min = virtio::vsock::kMinCid, .max = virtio::vsock::kMaxCid}),
        required("socket", &T::socket), field("iommu", &T::iommu), field("pci_segment", &T::pci_segment),
        field("pci_device_id", &T::pci_device_id), field("id", &T::id));
};
