// ACPI power management in its hardware-reduced form: sleep, reset, and the generic event device's register.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "devices/acpi/state.h"
#include "devices/platform_events.h"
#include "vmm/bus/bus.h"
#include "vmm/bus/interrupts.h"

namespace hako::acpi_pm {

// Byte registers, from layout::kPortPm. FADT and DSDT tell the guest of them.
inline constexpr std::uint64_t kSleepControl =
    0;                                            ///< ACPI 6.5, 4.8.3.7: SLP_TYP in bits 2 to 4, SLP_EN bit 5
inline constexpr std::uint64_t kSleepStatus = 1;  ///< WAK_STS bit 7, write 1 to clear
inline constexpr std::uint64_t kReset = 2;        ///< FADT RESET_REG
inline constexpr std::uint64_t kEvents = 3;  ///< hako's own: reading gives the pending events and clears them
inline constexpr std::uint64_t kPorts = 4;

inline constexpr std::uint8_t kSleepTypeS5 = 5;  ///< \_S5's first element
inline constexpr std::uint8_t kResetValue = 1;   ///< FADT RESET_VALUE

// Bits of kEvents.
inline constexpr std::uint8_t kEventPowerButton = 1 << 0;
inline constexpr std::uint8_t kEventPciSlots = 1 << 1;    ///< PciHotplug's registers have news
inline constexpr std::uint8_t kEventPciBus = 1 << 2;      ///< PCI functions are gone already
inline constexpr std::uint8_t kEventGeneration = 1 << 3;  ///< the VM generation ID has changed
inline constexpr std::uint8_t kEventCpus = 1 << 4;        ///< CpuHotplug's registers have news
inline constexpr std::uint8_t kEventMemory = 1 << 5;      ///< MemoryHotplug's registers have news
inline constexpr std::uint8_t kEventsAll =
    kEventPowerButton | kEventPciSlots | kEventPciBus | kEventGeneration | kEventCpus | kEventMemory;

/// Safe from any thread.
class Device final : public BusDevice {
  public:
    /// `ged`: the generic event device's line, layout::kIrqGed.
    Device(IrqLine ged, PlatformEvents& events, const std::optional<State>& state = std::nullopt);

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

    /// Asks the guest to shut down in order; what it does about it is its own matter.
    void press_power_button() { raise(kEventPowerButton); }
    /// Sets an event's bit and pulses the generic event device's line.
    void raise(std::uint8_t event);
    /// Pulses the line again if an event waits: the edge of before a restore may have been lost.
    void repeat_edge() const;

    [[nodiscard]] State state() const;

  private:
    IrqLine ged_;
    PlatformEvents& events_;
    mutable std::mutex mutex_;
    State state_;
};

}  // namespace hako::acpi_pm
