// Everything of a machine but its memory, its images and its configuration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/acpi/state.h"
#include "devices/i8042/state.h"
#include "devices/pci/host_bridge.h"
#include "devices/rtc/state.h"
#include "devices/serial/state.h"
#include "devices/vmgenid/state.h"
#include "devices/watchdog/state.h"
#include "virtio/balloon/state.h"
#include "virtio/blk/state.h"
#include "virtio/console/state.h"
#include "virtio/fs/state.h"
#include "virtio/mem/state.h"
#include "virtio/net/state.h"
#include "virtio/pci/transport.h"
#include "virtio/rng/state.h"
#include "virtio/vsock/state.h"
#include "vmm/base/result.h"
#include "vmm/kvm/clock.h"
#include "vmm/kvm/irqchip_state.h"
#include "vmm/kvm/vcpu_state.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/state/sections.h"

namespace hako {

/// What must be as it was for the rest to make sense; and who wrote it.
struct MachineFacts {
    std::string hako;          ///< version of the program
    std::uint32_t vcpus = 0;   ///< in this state
    std::uint64_t memory = 0;  ///< bytes
    std::uint32_t leaving =
        0;  ///< PCI slots whose device is asked to go, or has gone and is still to be taken out

    bool operator==(const MachineFacts&) const = default;
};

/// The devices at fixed ports.
struct PlatformState {
    acpi_pm::State power;
    acpi_pm::PciHotplugState hotplug;
    /// Nothing where the guest's ACPI tables know of no CPUs, or no memory, that come and go.
    std::optional<acpi_pm::HotplugUnitsState> cpu_hotplug;
    std::optional<acpi_pm::MemoryHotplugState> memory_hotplug;
    i8042::State i8042;
    rtc::State rtc;
    std::optional<serial::State> serial;
    /// Not in states of hakos that had no such device: their guests have no ACPI object for it either.
    std::optional<vmgenid::State> generation;

    bool operator==(const PlatformState&) const = default;
};

/// A virtio device in its PCI slot.
template <typename Own>
struct DeviceState {
    std::string id;
    std::uint16_t segment = 0;
    std::uint8_t slot = 0;
    virtio::PciTransport::State transport;
    Own device;

    bool operator==(const DeviceState&) const = default;
};

/// A PCI segment but the first.
struct SegmentState {
    pci::HostBridge::State bridge;
    acpi_pm::PciHotplugState hotplug;
    std::uint32_t leaving = 0;  ///< see MachineFacts::leaving, which is the first one's

    bool operator==(const SegmentState&) const = default;
};

/// The watchdog in its PCI slot, in the first segment.
struct WatchdogState {
    std::uint8_t slot = 0;
    watchdog::State device;

    bool operator==(const WatchdogState&) const = default;
};

struct MachineState {
    MachineFacts facts;
    kvm::ClockState clock;
    kvm::IrqchipState irqchip;
    std::vector<kvm::VcpuState> cpus;  ///< by id, from 0 on, mostly without gaps
    PlatformState platform;
    pci::HostBridge::State bridge;       ///< of the first PCI segment
    std::vector<SegmentState> segments;  ///< the others
    std::vector<DeviceState<virtio::blk::State>> disks;
    std::vector<DeviceState<virtio::net::State>> nets;
    std::vector<DeviceState<virtio::rng::State>> rngs;
    std::vector<DeviceState<virtio::console::State>> consoles;
    std::vector<DeviceState<virtio::vsock::State>> vsocks;
    std::vector<DeviceState<virtio::fs::State>> fs;
    std::vector<DeviceState<virtio::balloon::State>> balloons;
    std::vector<DeviceState<virtio::mem::State>> mems;
    std::optional<WatchdogState> watchdog;
    /// Disks that the guest still sees though their images are taken away; the id is the slot's number.
    std::vector<DeviceState<virtio::blk::State>> gone_disks;
};

/// As a state of sections (vmm/state/sections.h).
[[nodiscard]] Result<std::vector<std::byte>> encode(const MachineState& state);
/// From bytes that anybody may have written. A Fault::kInput says what is wrong with them.
[[nodiscard]] Result<MachineState> decode(std::span<const std::byte> bytes);
/// Such bytes as JSON text for people; sections that nobody knows as hexadecimal digits.
[[nodiscard]] Result<std::string> describe(std::span<const std::byte> bytes);

}  // namespace hako

namespace hako::state {

template <>
struct Fields<MachineFacts> {
    using T = MachineFacts;
    static constexpr auto list = std::tuple(upto(64, "hako", &T::hako), field("vcpus", &T::vcpus),
                                            field("memory", &T::memory), hex("leaving", &T::leaving));
};

template <>
struct Fields<SegmentState> {
    using T = SegmentState;
    static constexpr auto list =
        std::tuple(field("bridge", &T::bridge), field("hotplug", &T::hotplug), hex("leaving", &T::leaving));
};

template <>
struct Fields<WatchdogState> {
    using T = WatchdogState;
    static constexpr auto list = std::tuple(field("slot", &T::slot), field("device", &T::device));
};

template <typename Own>
struct Fields<DeviceState<Own>> {
    using T = DeviceState<Own>;
    /// Its segment and its id are the section's instance.
    static constexpr auto list =
        std::tuple(field("slot", &T::slot), field("transport", &T::transport), field("device", &T::device));
};

}  // namespace hako::state
