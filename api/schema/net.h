// A network interface as Cloud Hypervisor's clients describe it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "api/schema/rate_limiter.h"
#include "virtio/net/config.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::api {

struct NetConfig {
    std::optional<std::string> tap;  ///< unset, without descriptors and socket: a new one
    /// For the host's end; taken, as clients send the old default, but hako leaves addresses to the host.
    std::optional<std::string> ip;
    std::optional<std::string> mask;
    std::optional<std::string> mac;
    std::optional<std::string> host_mac;
    std::optional<std::uint16_t> mtu;  ///< 68 to 65535
    bool iommu = false;
    std::uint16_t num_queues = 2;    ///< two for each pair: 2, 4 … 16
    std::uint16_t queue_size = 256;  ///< a power of two, 16 to 1024
    bool vhost_user = false;
    std::optional<std::string> vhost_socket;
    std::string vhost_mode = "Client";
    std::optional<std::string> id;
    std::uint16_t pci_segment = 0;
    std::optional<std::uint8_t> pci_device_id;
    std::optional<RateLimiterConfig> rate_limiter_config;  ///< for each direction
    // Hints: the tap decides what it can do.
    bool offload_tso = true;
    bool offload_ufo = true;
    bool offload_csum = true;
    // hako's own.
    std::optional<std::string> socket;  ///< path of a stream socket to connect to (passt), instead of a tap
    bool vhost = false;                 ///< the kernel's vhost-net serves the queues of the tap
    /// In vm.create: how many of the descriptors that came with it are this one's taps.
    std::optional<std::uint16_t> num_fds;

    bool operator==(const NetConfig&) const = default;
};

/// `config.id` is set. `fds` are open taps, one for each queue pair, and stay the caller's. Refusals name the
/// field, as part of what is at `place`.
[[nodiscard]] Result<virtio::net::Config> to_machine(const NetConfig& config, std::span<const Fd> fds = {},
                                                     const json::Place& place = {});
[[nodiscard]] NetConfig from_machine(const virtio::net::Config& config);

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::NetConfig> {
    using T = NetConfig;
    static constexpr auto list = std::tuple(
        field("tap", &T::tap), field("ip", &T::ip), field("mask", &T::mask), field("mac", &T::mac),
        field("host_mac", &T::host_mac), field("mtu", &T::mtu, {.min = 68, .max = 65535}),
        field("iommu", &T::iommu),
        field("num_queues", &T::num_queues, {.min = 2, .max = 2 * virtio::net::kMaxQueuePairs}),
        field("queue_size", &T::queue_size, {.min = 16, .max = 1024}), field("vhost_user", &T::vhost_user),
        field("vhost_socket", &T::vhost_socket), field("vhost_mode", &T::vhost_mode), field("id", &T::id),
        field("pci_segment", &T::pci_segment), field("pci_device_id", &T::pci_device_id),
        field("rate_limiter_config", &T::rate_limiter_config), field("offload_tso", &T::offload_tso),
        field("offload_ufo", &T::offload_ufo), field("offload_csum", &T::offload_csum),
        field("socket", &T::socket), field("vhost", &T::vhost),
        field("num_fds", &T::num_fds, {.min = 1, .max = virtio::net::kMaxQueuePairs}));
};
