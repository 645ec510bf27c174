// What the guest may ask of the whole machine through a platform device.
#pragma once

#include <cstdint>

#include "devices/pci/bdf.h"

namespace hako {

/// Called on vCPU threads, from any of them, where nothing else is said: must not block, and must not take
/// the VM down on the spot. A guest may repeat any of them at will.
class PlatformEvents {
  public:
    virtual ~PlatformEvents() = default;
    virtual void power_off() = 0;     ///< ACPI S5
    virtual void reset() = 0;         ///< ACPI reset register, i8042 reset line
    virtual void panicked() = 0;      ///< pvpanic: the guest kernel has panicked
    virtual void crash_loaded() = 0;  ///< pvpanic: it has panicked and goes on into its crash kernel
    /// Watchdog: the guest did not reload it in time. Called on the io thread.
    virtual void watchdog_expired() = 0;
    /// ACPI: the guest has let go of a PCI slot (1 to 31 of bus 0) that it was asked to eject.
    virtual void slot_ejected(pci::Bdf address) = 0;
    /// ACPI: the guest has let go of a CPU (1 to 63) that it was asked to eject.
    virtual void cpu_ejected(std::uint32_t cpu) = 0;
    /// ACPI: the guest has let go of a piece of memory (0 to 63) that it was asked to eject.
    virtual void memory_ejected(unsigned piece) = 0;
};

}  // namespace hako
