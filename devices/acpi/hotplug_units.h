// What of several units of a kind, CPUs or pieces of memory, is plugged, comes and is to go, by ACPI.
// (ACPI 6.3, 5.6.6 and 6.3)
#pragma once

#include <cstdint>
#include <mutex>

#include "devices/acpi/state.h"

namespace hako::acpi_pm {

inline constexpr unsigned kMaxUnits = 64;

// A unit's 32-bit status register. Reading gives the first three; writing one of the last three says that the
// guest has been told, or that it has let go of the unit (_EJ0).
inline constexpr std::uint32_t kUnitEnabled = 1 << 0;
inline constexpr std::uint32_t kUnitInserted = 1 << 1;  ///< the guest should look at it (device check)
inline constexpr std::uint32_t kUnitLeaving = 1 << 2;   ///< the guest should let go of it (eject request)
inline constexpr std::uint32_t kUnitEject = 1 << 3;

/// Safe from any thread. Units are numbered from 0 to kMaxUnits - 1. An eject that nobody asked for is
/// ignored.
class HotplugUnits {
  public:
    explicit HotplugUnits(const HotplugUnitsState& state) : state_(state) {}

    [[nodiscard]] std::uint32_t status(unsigned unit) const;
    /// The guest writes the unit's register. True if it has ejected it by that.
    bool write(unsigned unit, std::uint32_t value);

    /// It is there now, and the guest is to be told.
    void plug(unsigned unit);
    /// It is not there, and the guest was not told that it would be.
    void take_back(unsigned unit);
    /// The guest keeps it: it is not asked any more.
    void withdraw(unsigned unit);
    /// The guest is to let go of it; may be repeated. Nothing happens where there is none.
    void ask_to_eject(unsigned unit);

    [[nodiscard]] HotplugUnitsState state() const;

  private:
    mutable std::mutex mutex_;
    HotplugUnitsState state_;
};

}  // namespace hako::acpi_pm
