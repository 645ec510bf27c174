// Pieces of memory that come and go while the guest runs, by ACPI: status, address and size of each.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "devices/acpi/device.h"
#include "devices/acpi/hotplug_units.h"
#include "devices/acpi/state.h"
#include "devices/platform_events.h"
#include "vmm/bus/bus.h"

namespace hako::acpi_pm {

// From layout::kPortMemoryHotplug: 32-bit registers of piece N at 16 * N. The DSDT tells the guest of them.
inline constexpr std::uint64_t kMemoryStatus = 0;   ///< as hotplug_units.h has it, and kMemoryKept
inline constexpr std::uint64_t kMemoryAddress = 4;  ///< in kMemoryUnit
inline constexpr std::uint64_t kMemorySize = 8;     ///< in kMemoryUnit
inline constexpr std::uint64_t kMemoryStride = 16;
/// Written to the status: the guest cannot let go of the piece (_OST; ACPI 6.3, 6.3.5).
inline constexpr std::uint32_t kMemoryKept = 1 << 4;
inline constexpr std::uint64_t kMemoryHotplugPorts = kMemoryStride * kMaxUnits;

/// Safe from any thread. Who owns the memory maps it; this only tells the guest, and hears from it:
/// PlatformEvents::memory_ejected(). Pieces lie one behind the other; the last to come is the first to go.
class MemoryHotplug final : public BusDevice {
  public:
    /// `power`: has the event device's line. Both outlive this.
    MemoryHotplug(Device& power, PlatformEvents& events, MemoryHotplugState state)
        : power_(power), events_(events), units_(state.units), pieces_(std::move(state.pieces)) {}

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

    /// One more piece, behind the last; there are fewer than kMaxUnits.
    void add(const MemoryPiece& piece);
    /// See HotplugUnits.
    void ask_to_eject(unsigned piece) { units_.ask_to_eject(piece); }
    /// Of the first `count` pieces, those that the guest has ejected come again. True if there were any.
    bool plug_again(std::size_t count);
    /// Forgets the last piece, which the guest has ejected.
    void drop_last();
    /// Tells the guest of all that there is to tell.
    void notify() { power_.raise(kEventMemory); }

    [[nodiscard]] MemoryHotplugState state() const;

  private:
    Device& power_;
    PlatformEvents& events_;
    HotplugUnits units_;
    mutable std::mutex mutex_;
    std::vector<MemoryPiece> pieces_;
};

}  // namespace hako::acpi_pm
