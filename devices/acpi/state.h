// The migratable state of the ACPI power management block.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/state/fields.h"

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

/// CPUs, or pieces of memory. Bit N is unit N.
struct HotplugUnitsState {
    std::uint64_t enabled = 0;   ///< there
    std::uint64_t inserted = 0;  ///< the guest was not told yet that it came
    std::uint64_t leaving = 0;   ///< the guest was not asked yet to let go of it
    std::uint64_t asked = 0;     ///< asked for, not ejected

    bool operator==(const HotplugUnitsState&) const = default;
};

/// Bytes.
struct MemoryPiece {
    std::uint64_t address = 0;  ///< guest-physical
    std::uint64_t size = 0;

    bool operator==(const MemoryPiece&) const = default;
};

struct MemoryHotplugState {
    HotplugUnitsState units;
    std::vector<MemoryPiece>
        pieces;  ///< by unit; one that the guest has ejected stays until those behind it go

    bool operator==(const MemoryHotplugState&) const = default;
};

}  // namespace hako::acpi_pm

namespace hako::state {

template <>
struct Fields<acpi_pm::State> {
    using T = acpi_pm::State;
    static constexpr auto list = std::tuple(hex("sleep_status", &T::sleep_status), hex("events", &T::events));
};

template <>
struct Fields<acpi_pm::PciHotplugState> {
    using T = acpi_pm::PciHotplugState;
    static constexpr auto list =
        std::tuple(hex("inserted", &T::inserted), hex("leaving", &T::leaving), hex("asked", &T::asked));
};

template <>
struct Fields<acpi_pm::HotplugUnitsState> {
    using T = acpi_pm::HotplugUnitsState;
    static constexpr auto list = std::tuple(hex("enabled", &T::enabled), hex("inserted", &T::inserted),
                                            hex("leaving", &T::leaving), hex("asked", &T::asked));
};

template <>
struct Fields<acpi_pm::MemoryPiece> {
    using T = acpi_pm::MemoryPiece;
    static constexpr auto list = std::tuple(hex("address", &T::address), hex("size", &T::size));
};

template <>
struct Fields<acpi_pm::MemoryHotplugState> {
    using T = acpi_pm::MemoryHotplugState;
    static constexpr auto list = std::tuple(field("units", &T::units), upto(64, "pieces", &T::pieces));
};

}  // namespace hako::state
