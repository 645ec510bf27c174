// CPUs that come and go while the guest runs, by ACPI: a status register for each.
#pragma once

#include <cstdint>

#include "devices/acpi/device.h"
#include "devices/acpi/hotplug_units.h"
#include "devices/platform_events.h"
#include "vmm/bus/bus.h"

namespace hako::acpi_pm {

// From layout::kPortCpuHotplug: CPU N's 32-bit status register (hotplug_units.h) at 4 * N. The DSDT tells the
// guest of them.
inline constexpr std::uint64_t kCpuStride = 4;
inline constexpr std::uint64_t kCpuHotplugPorts = kCpuStride * kMaxUnits;

/// Safe from any thread. Who owns the vCPUs makes and ends them; this only tells the guest, and hears from
/// it: PlatformEvents::cpu_ejected().
class CpuHotplug final : public BusDevice {
  public:
    /// `power`: has the event device's line. Both outlive this.
    CpuHotplug(Device& power, PlatformEvents& events, const HotplugUnitsState& state)
        : power_(power), events_(events), units_(state) {}

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

    /// The CPU is there: see HotplugUnits.
    void plug(std::uint32_t cpu) { units_.plug(cpu); }
    void take_back(std::uint32_t cpu) { units_.take_back(cpu); }
    void ask_to_eject(std::uint32_t cpu) { units_.ask_to_eject(cpu); }
    /// Tells the guest of all that there is to tell.
    void notify() { power_.raise(kEventCpus); }

    [[nodiscard]] HotplugUnitsState state() const { return units_.state(); }

  private:
    Device& power_;
    PlatformEvents& events_;
    HotplugUnits units_;
};

}  // namespace hako::acpi_pm
