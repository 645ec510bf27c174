// A whole VM as Cloud Hypervisor's clients describe it.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"
#include "api/schema/balloon.h"
#include "api/schema/cloud_init.h"
#include "api/schema/console.h"
#include "api/schema/cpus.h"
#include "api/schema/disk.h"
#include "api/schema/fs.h"
#include "api/schema/helper_disk.h"
#include "api/schema/memory.h"
#include "api/schema/net.h"
#include "api/schema/opaque.h"
#include "api/schema/payload.h"
#include "api/schema/platform.h"
#include "api/schema/vsock.h"
#include "vmm/base/result.h"
#include "vmm/machine/config.h"

namespace hako::api {

struct RngConfig {
    std::string src = "/dev/urandom";  ///< or /dev/random: hako asks the kernel (getrandom)
    bool iommu = false;
    std::optional<std::uint16_t> pci_segment;

    bool operator==(const RngConfig&) const = default;
};

struct VmConfig {
    CpusConfig cpus;
    MemoryConfig memory;
    PayloadConfig payload;
    std::vector<DiskConfig> disks;
    std::vector<NetConfig> net;
    RngConfig rng;
    ConsoleConfig serial;
    /// kOff and kTty, which is what a client gets that says nothing, both mean none.
    ConsoleConfig console = {.mode = ConsoleMode::kTty};
    std::vector<VmAddConsole> consoles;  ///< hako's own: those that `console` has no words for
    std::optional<BalloonConfig> balloon;
    std::optional<VsockConfig> vsock;
    std::vector<FsConfig> fs;
    std::optional<PlatformConfig> platform;
    std::optional<seed::Config> cloud_init;      ///< hako's own: the texts of a NoCloud disk
    std::vector<HelperDiskConfig> helper_disks;  ///< hako's own: small disks of files
    bool pvpanic = false;                        ///< there always is one
    bool watchdog = false;

    // Refused when they ask for something.
    bool iommu = false;
    bool landlock_enable = false;
    std::optional<Opaque> tpm;
    std::optional<std::vector<Opaque>> generic_vhost_user;
    std::optional<std::vector<Opaque>> pmem;
    std::optional<std::vector<Opaque>> devices;
    std::optional<std::vector<Opaque>> user_devices;
    std::optional<std::vector<Opaque>> vdpa;
    std::optional<std::vector<Opaque>> numa;
    std::optional<std::vector<Opaque>> pci_segments;
    std::optional<std::vector<Opaque>> rate_limit_groups;

    bool operator==(const VmConfig&) const = default;
};

/// Gives the disks, interfaces, consoles, shared directories, the vsock and the balloon without an id one:
/// "_disk0" …
void name_devices(VmConfig& config);

/// Of a config whose devices have their ids; builds the helper disks. Refusals name the field.
[[nodiscard]] Result<MachineConfig> to_machine(const VmConfig& config);

/// Of its memory alone.
[[nodiscard]] Result<hako::MemoryConfig> to_machine(const MemoryConfig& config);

/// As many devices as there is room for; their ids, taps and sockets are there once. to_machine() has checked
/// it; call it again when devices came. (Addresses may then repeat: Kata, when it adds an interface, adds
/// those that are there once more.)
[[nodiscard]] Result<> check_devices(const MachineConfig& config);

/// The machine as it is now. What hako does not keep is as the client `sent` it; what is on
/// helper disks, which tends to be secret, is left out.
[[nodiscard]] VmConfig from_machine(const MachineConfig& config, const VmConfig& sent = {});

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::RngConfig> {
    static constexpr auto list =
        std::tuple(required("src", &RngConfig::src), field("iommu", &RngConfig::iommu),
                   field("pci_segment", &RngConfig::pci_segment));
};

template <>
struct hako::api::json::Fields<hako::api::VmConfig> {
    using T = VmConfig;
    static constexpr auto list = std::tuple(
        field("cpus", &T::cpus), field("memory", &T::memory), required("payload", &T::payload),
        field("disks", &T::disks), field("net", &T::net), field("rng", &T::rng), field("serial", &T::serial),
        field("console", &T::console), field("consoles", &T::consoles), field("platform", &T::platform),
        field("cloud_init", &T::cloud_init), field("helper_disks", &T::helper_disks),
        field("pvpanic", &T::pvpanic), field("iommu", &T::iommu), field("watchdog", &T::watchdog),
        field("landlock_enable", &T::landlock_enable), field("balloon", &T::balloon),
        field("vsock", &T::vsock), field("tpm", &T::tpm), field("fs", &T::fs),
        field("generic_vhost_user", &T::generic_vhost_user), field("pmem", &T::pmem),
        field("devices", &T::devices), field("user_devices", &T::user_devices), field("vdpa", &T::vdpa),
        field("numa", &T::numa), field("pci_segments", &T::pci_segments),
        field("rate_limit_groups", &T::rate_limit_groups));
};
