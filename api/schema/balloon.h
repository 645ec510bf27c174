// A balloon as Cloud Hypervisor's clients describe it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "virtio/balloon/config.h"
#include "vmm/base/result.h"

namespace hako::api {

struct BalloonConfig {
    std::uint64_t size = 0;  ///< bytes
    bool deflate_on_oom = false;
    bool free_page_reporting = false;
    std::uint16_t pci_segment = 0;
    std::optional<std::uint8_t> pci_device_id;
    std::optional<std::string> id;

    bool operator==(const BalloonConfig&) const = default;
};

/// `config.id` is set. Refusals name the field, as part of what is at `place`.
[[nodiscard]] Result<virtio::balloon::Config> to_machine(const BalloonConfig& config,
                                                         const json::Place& place = {});
[[nodiscard]] BalloonConfig from_machine(const virtio::balloon::Config& config);

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::BalloonConfig> {
    using T = BalloonConfig;
    static constexpr auto list = std::tuple(
        required("size", &T::size), field("deflate_on_oom", &T::deflate_on_oom),
        field("free_page_reporting", &T::free_page_reporting), field("pci_segment", &T::pci_segment),
        field("pci_device_id", &T::pci_device_id), field("id", &T::id));
};
