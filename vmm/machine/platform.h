// The devices every machine has, at their fixed ports: power management, clock, reset, panic, serial port.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "devices/acpi/cpu_hotplug.h"
#include "devices/acpi/device.h"
#include "devices/acpi/memory_hotplug.h"
#include "devices/acpi/pci_hotplug.h"
#include "devices/i8042/device.h"
#include "devices/platform_events.h"
#include "devices/pvpanic/device.h"
#include "devices/rtc/device.h"
#include "devices/serial/device.h"
#include "devices/vmgenid/state.h"
#include "vmm/bus/bus.h"
#include "vmm/bus/interrupts.h"

namespace hako {

struct PlatformState;

/// What may come and go beside PCI functions. Bit N is number N.
struct PlatformUnits {
    bool memory = false;     ///< pieces of memory come and go
    std::uint64_t cpus = 0;  ///< those that are there; 0: CPUs do not come and go
    /// Of the PCI segments from 1 on, each as it is at first.
    std::vector<acpi_pm::PciHotplugState> segments;
};

class Platform {
  public:
    /// Puts the devices on the port bus. `serial`: where the serial port's bytes go, or null for no serial
    /// port. `restored`, if not null: what state() gave, `units` with it. The others outlive the platform; no
    /// vCPU runs when it is destroyed.
    static Result<std::unique_ptr<Platform>> create(Bus& pio, InterruptController& interrupts,
                                                    PlatformEvents& events, console::Sink* serial,
                                                    const PlatformUnits& units,
                                                    const PlatformState* restored = nullptr);

    [[nodiscard]] acpi_pm::Device& power() { return power_; }
    /// Of a PCI segment that there is.
    [[nodiscard]] acpi_pm::PciHotplug& hotplug(std::uint16_t segment) {
        return segment == 0 ? hotplug_ : *more_hotplug_.at(segment - 1U);
    }
    /// Null where the guest's ACPI tables do not have it.
    [[nodiscard]] acpi_pm::CpuHotplug* cpu_hotplug() { return cpu_hotplug_ ? &*cpu_hotplug_ : nullptr; }
    [[nodiscard]] const acpi_pm::CpuHotplug* cpu_hotplug() const {
        return cpu_hotplug_ ? &*cpu_hotplug_ : nullptr;
    }
    /// The same for memory.
    [[nodiscard]] acpi_pm::MemoryHotplug* memory_hotplug() {
        return memory_hotplug_ ? &*memory_hotplug_ : nullptr;
    }
    /// Null when there is no serial port.
    [[nodiscard]] console::Port* serial() { return serial_ ? &*serial_ : nullptr; }

    /// Nothing where the machine goes on from a state without it.
    [[nodiscard]] const std::optional<vmgenid::State>& generation() const { return generation_; }

    [[nodiscard]] PlatformState state() const;
    /// Interrupts once more for what waits: edges of before a restore may have been lost.
    void repeat_edges();

  private:
    Platform(PlatformEvents& events, IrqLine ged, const PlatformState* restored);

    acpi_pm::Device power_;
    acpi_pm::PciHotplug hotplug_;
    std::vector<std::unique_ptr<acpi_pm::PciHotplug>> more_hotplug_;
    std::optional<acpi_pm::CpuHotplug> cpu_hotplug_;
    std::optional<acpi_pm::MemoryHotplug> memory_hotplug_;
    i8042::Device i8042_;
    pvpanic::Device pvpanic_;
    rtc::Device rtc_;
    std::optional<serial::Device> serial_;
    std::optional<vmgenid::State> generation_;
};

/// The machine that goes on from `saved` is another than the one that was saved, for all it knows: it finds a
/// new VM generation ID, and is told so. A state without one is left as it is.
[[nodiscard]] Result<> renew_generation(PlatformState& saved);

}  // namespace hako
