// The migratable state of the ACPI power management block.
#pragma once

#include <cstdint>

namespace hako::acpi_pm {

struct State {
    std::uint8_t sleep_status = 0;  ///< WAK_STS (bit 7)
    std::uint8_t events = 0;        ///< generic event device: bits not yet read

    bool operator==(const State&) const = default;
};

/// Bit N is slot N of PCI bus 0.
struct PciHotplugState {
    std::uint32_t inserted = 0;  ///< the guest was not told yet
    std::uint32_t leaving = 0;   ///< the guest was not asked yet
    std::uint32_t asked = 0;     ///< asked for, not ejected

    bool operator==(const PciHotplugState&) const = default;
};

}  // namespace hako::acpi_pm
