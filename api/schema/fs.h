// A shared directory as Cloud Hypervisor's clients describe it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "virtio/fs/config.h"
#include "vmm/base/result.h"

namespace hako::api {

struct FsConfig {
    std::string tag;
    std::string socket;  ///< where the daemon (virtiofsd) listens
    std::uint16_t num_queues = 1;
    std::uint16_t queue_size = virtio::kMaxQueueSize;
    std::uint16_t pci_segment = 0;
    std::optional<std::uint8_t> pci_device_id;
    std::optional<std::string> id;

    bool operator==(const FsConfig&) const = default;
};

/// A shared directory of a VM that comes from elsewhere.
struct RestoredFsConfig {
    std::string id;
    std::string socket;  ///< where its daemon listens here

    bool operator==(const RestoredFsConfig&) const = default;
};

/// `config.id` is set. Refusals name the field, as part of what is at `place`.
[[nodiscard]] Result<virtio::fs::Config> to_machine(const FsConfig& config, const json::Place& place = {});
[[nodiscard]] FsConfig from_machine(const virtio::fs::Config& config);

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::FsConfig> {
    using T = FsConfig;
    static constexpr auto list = std::tuple(
        required("tag", &T::tag), required("socket", &T::socket),
        field("num_queues", &T::num_queues, {.min = 1, .max = virtio::fs::kMaxQueues}),
        field("queue_size", &T::queue_size, {.min = virtio::fs::kMinQueueSize, .max = virtio::kMaxQueueSize}),
        field("pci_segment", &T::pci_segment), field("pci_device_id", &T::pci_device_id),
        field("id", &T::id));
};

template <>
struct hako::api::json::Fields<hako::api::RestoredFsConfig> {
    using T = RestoredFsConfig;
    static constexpr auto list = std::tuple(required("id", &T::id), required("socket", &T::socket));
};
