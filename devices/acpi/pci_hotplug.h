// PCI functions that come and go while the guest runs, by ACPI. (ACPI 6.3, 5.6.6 and 6.3.3)
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "devices/acpi/device.h"
#include "devices/acpi/state.h"
#include "devices/platform_events.h"
#include "vmm/bus/bus.h"

namespace hako::acpi_pm {

// 32-bit registers of a PCI segment, from layout::pci_hotplug_port(); bit N is slot N of bus 0. The DSDT
// tells the guest of them.
inline constexpr std::uint64_t kInserted = 0;  ///< slots with a new function; reading clears
inline constexpr std::uint64_t kLeaving = 4;   ///< slots that should be ejected; reading clears
inline constexpr std::uint64_t kEject = 8;     ///< writing a slot's bit: the guest has let go of it (_EJ0)
inline constexpr std::uint64_t kHotplugPorts = 12;

/// Which slots have news for the guest. Who owns the functions puts them into the host bridge and takes them
/// out; this only tells the guest, and hears from it.
///
/// Safe from any thread. An eject that nobody asked for is ignored: a guest may stop using a device, but
/// what the VM has is its owner's choice.
class PciHotplug final : public BusDevice {
  public:
    /// `power`: has the event device's line. Both outlive this.
    PciHotplug(Device& power, PlatformEvents& events,
               const std::optional<PciHotplugState>& state = std::nullopt, std::uint16_t segment = 0)
        : power_(power), events_(events), segment_(segment), state_(state.value_or(PciHotplugState{})) {}

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

    /// There is a new function in the slot.
    void inserted(std::uint8_t slot);
    /// Asks the guest to let go of the slot; PlatformEvents::slot_ejected() follows, or never. May be
    /// repeated.
    void ask_to_eject(std::uint8_t slot);
    /// The function is gone already: the guest should look at the whole bus.
    void gone(std::uint8_t slot);

    [[nodiscard]] PciHotplugState state() const;

  private:
    Device& power_;
    PlatformEvents& events_;
    const std::uint16_t segment_;
    mutable std::mutex mutex_;
    PciHotplugState state_;
};

}  // namespace hako::acpi_pm
