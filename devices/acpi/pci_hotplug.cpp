#include "devices/acpi/pci_hotplug.h"

#include <bit>
#include <utility>

namespace hako::acpi_pm {
namespace {

constexpr std::size_t kRegisterSize = 4;

constexpr std::uint32_t bit(std::uint8_t slot) {
    return std::uint32_t{1} << (slot % 32);
}

}  // namespace

void PciHotplug::read(std::uint64_t offset, std::span<std::byte> data) {
    std::uint32_t value = 0;
    if (data.size() == kRegisterSize) {
        const std::lock_guard lock(mutex_);
        if (offset == kInserted) value = std::exchange(state_.inserted, 0U);
        if (offset == kLeaving) value = std::exchange(state_.leaving, 0U);
    }
    store_le(data, value);
}

void PciHotplug::write(std::uint64_t offset, std::span<const std::byte> data) {
    if (offset != kEject || data.size() != kRegisterSize) return;
    auto slots = static_cast<std::uint32_t>(load_le(data));
    {
        const std::lock_guard lock(mutex_);
        slots &= state_.asked;
        state_.asked &= ~slots;
        state_.leaving &= ~slots;
    }
    for (; slots != 0; slots &= slots - 1)
        events_.slot_ejected({.bus = 0,
                              .device = static_cast<std::uint8_t>(std::countr_zero(slots)),
                              .function = 0,
                              .segment = segment_});
}

void PciHotplug::inserted(std::uint8_t slot) {
    {
        const std::lock_guard lock(mutex_);
        // What was asked of the slot's last function is not meant for this one.
        state_.asked &= ~bit(slot);
        state_.leaving &= ~bit(slot);
        state_.inserted |= bit(slot);
    }
    power_.raise(kEventPciSlots);
}

void PciHotplug::ask_to_eject(std::uint8_t slot) {
    {
        const std::lock_guard lock(mutex_);
        state_.leaving |= bit(slot);
        state_.asked |= bit(slot);
    }
    power_.raise(kEventPciSlots);
}

void PciHotplug::gone(std::uint8_t slot) {
    {
        const std::lock_guard lock(mutex_);
        state_.inserted &= ~bit(slot);
        state_.leaving &= ~bit(slot);
        state_.asked &= ~bit(slot);
    }
    power_.raise(kEventPciBus);
}

PciHotplugState PciHotplug::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

}  // namespace hako::acpi_pm
