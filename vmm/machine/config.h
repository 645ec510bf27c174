// One VM as the user described it: plain structs, filled from the command line (later from JSON too).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "devices/console/config.h"
#include "devices/watchdog/config.h"
#include "virtio/balloon/config.h"
#include "virtio/blk/config.h"
#include "virtio/console/config.h"
#include "virtio/fs/config.h"
#include "virtio/net/config.h"
#include "virtio/rng/config.h"
#include "virtio/vsock/config.h"
#include "vmm/boot/config.h"
#include "vmm/machine/coming.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/seed/helper.h"

namespace hako {

inline constexpr std::uint32_t kMaxVcpus = 64;
/// Disks, helper disks, network interfaces, consoles, vsocks and shared directories together; the other PCI
/// slots are for hako's own devices.
inline constexpr std::size_t kMaxDevices = 24;

struct CpuConfig {
    std::uint32_t count = 1;  ///< 1 to kMaxVcpus; those that the guest was asked to let go of left out
    std::uint32_t max = 0;    ///< with those that may come while the guest runs; up to kMaxVcpus

    [[nodiscard]] std::uint32_t most() const { return max > count ? max : count; }
    bool operator==(const CpuConfig&) const = default;
};

struct MachineConfig {
    PayloadConfig payload;
    CpuConfig cpus;
    MemoryConfig memory;
    std::vector<virtio::blk::Config> disks;
    std::vector<virtio::net::Config> nets;
    /// On by default: a guest needs entropy from its first moment.
    std::optional<virtio::rng::Config> rng = virtio::rng::Config{};
    std::optional<virtio::balloon::Config> balloon;
    std::optional<watchdog::Config> watchdog;
    console::Config serial;
    std::vector<virtio::console::Config> consoles;
    std::vector<virtio::vsock::Config> vsocks;  ///< at most virtio::vsock::kMaxDevices
    std::vector<virtio::fs::Config> fs;
    std::uint16_t pci_segments = 1;  ///< 1 to layout::kMaxPciSegments; each device is in one of them
    /// Disks that hako built; cloud-init's has the id seed::kSeedId.
    std::vector<seed::Helper> helpers;
    Coming coming;
};

}  // namespace hako
