// A disk as Cloud Hypervisor's clients describe it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "api/schema/rate_limiter.h"
#include "virtio/blk/config.h"
#include "vmm/base/result.h"

namespace hako::api {

enum class ImageType { kUnknown, kRaw, kQcow2, kFixedVhd, kVhdx };

/// Hints that change nothing for hako (queue_affinity, sparse, backing_files, lock_granularity) are passed
/// over.
struct DiskConfig {
    std::optional<std::string> path;
    bool readonly = false;
    std::optional<bool> direct;  ///< unset: where the file allows it
    bool iommu = false;
    std::uint16_t num_queues = 1;    ///< 1 to 64
    std::uint16_t queue_size = 128;  ///< a power of two, 16 to 1024
    bool vhost_user = false;
    std::optional<std::string> vhost_socket;
    std::optional<RateLimiterConfig> rate_limiter_config;
    std::uint16_t pci_segment = 0;
    std::optional<std::uint8_t> pci_device_id;
    std::optional<std::string> id;
    std::optional<std::string> serial;
    std::optional<std::string> rate_limit_group;
    ImageType image_type = ImageType::kUnknown;

    bool operator==(const DiskConfig&) const = default;
};

/// A serial number as the guest sees it: `given`, or how the id begins.
[[nodiscard]] Result<std::string> disk_serial(const std::optional<std::string>& given, const std::string& id,
                                              const json::Place& place);
/// `config.id` is set. Refusals name the field, as part of what is at `place`.
[[nodiscard]] Result<virtio::blk::Config> to_machine(const DiskConfig& config, const json::Place& place = {});
[[nodiscard]] DiskConfig from_machine(const virtio::blk::Config& config);

}  // namespace hako::api

template <>
struct hako::api::json::Names<hako::api::ImageType> {
    static constexpr std::array list = {
        Name{ImageType::kUnknown, "Unknown"}, Name{ImageType::kRaw, "Raw"}, Name{ImageType::kQcow2, "Qcow2"},
        Name{ImageType::kFixedVhd, "FixedVhd"}, Name{ImageType::kVhdx, "Vhdx"}};
};

template <>
struct hako::api::json::Fields<hako::api::DiskConfig> {
    using T = DiskConfig;
    static constexpr auto list = std::tuple(
        field("path", &T::path), field("readonly", &T::readonly), field("direct", &T::direct),
        field("iommu", &T::iommu), field("num_queues", &T::num_queues, {.min = 1, .max = 64}),
        field("queue_size", &T::queue_size, {.min = 16, .max = 1024}), field("vhost_user", &T::vhost_user),
        field("vhost_socket", &T::vhost_socket), field("rate_limiter_config", &T::rate_limiter_config),
        field("pci_segment", &T::pci_segment), field("pci_device_id", &T::pci_device_id), field("id", &T::id),
        field("serial", &T::serial), field("rate_limit_group", &T::rate_limit_group),
        field("image_type", &T::image_type));
};
