#include "devices/acpi/hotplug_units.h"

namespace hako::acpi_pm {
namespace {

constexpr std::uint64_t bit(unsigned unit) {
    return std::uint64_t{1} << (unit % kMaxUnits);
}

}  // namespace

std::uint32_t HotplugUnits::status(unsigned unit) const {
    if (unit >= kMaxUnits) return 0;
    const std::lock_guard lock(mutex_);
    return ((state_.enabled & bit(unit)) != 0 ? kUnitEnabled : 0) |
           ((state_.inserted & bit(unit)) != 0 ? kUnitInserted : 0) |
           ((state_.leaving & bit(unit)) != 0 ? kUnitLeaving : 0);
}

bool HotplugUnits::write(unsigned unit, std::uint32_t value) {
    if (unit >= kMaxUnits) return false;
    const std::uint64_t own = bit(unit);
    const std::lock_guard lock(mutex_);
    if ((value & kUnitInserted) != 0) state_.inserted &= ~own;
    if ((value & kUnitLeaving) != 0) state_.leaving &= ~own;
    if ((value & kUnitEject) == 0 || (state_.asked & own) == 0) return false;
    state_.enabled &= ~own;
    state_.inserted &= ~own;
    state_.leaving &= ~own;
    state_.asked &= ~own;
    return true;
}

void HotplugUnits::plug(unsigned unit) {
    const std::lock_guard lock(mutex_);
    state_.enabled |= bit(unit);
    state_.inserted |= bit(unit);
    // What was asked of the last one in its place is not meant for this one.
    state_.leaving &= ~bit(unit);
    state_.asked &= ~bit(unit);
}

void HotplugUnits::take_back(unsigned unit) {
    const std::lock_guard lock(mutex_);
    state_.enabled &= ~bit(unit);
    state_.inserted &= ~bit(unit);
}

void HotplugUnits::withdraw(unsigned unit) {
    const std::lock_guard lock(mutex_);
    state_.leaving &= ~bit(unit);
    state_.asked &= ~bit(unit);
}

void HotplugUnits::ask_to_eject(unsigned unit) {
    const std::lock_guard lock(mutex_);
    state_.leaving |= bit(unit) & state_.enabled;
    state_.asked |= bit(unit) & state_.enabled;
}

HotplugUnitsState HotplugUnits::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

}  // namespace hako::acpi_pm
