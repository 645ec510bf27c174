// The migratable state of the ACPI power management block.
#pragma once

#include <cstdint>

namespace hako::acpi_pm {

struct State {
    std::uint8_t sleep_status = 0;  ///< WAK_STS (bit 7)
    std::uint8_t events = 0;        ///< generic event device: bits not yet read

    bool operator==(const State&) const = default;
};

}  // namespace hako::acpi_pm
