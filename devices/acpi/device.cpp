#include "devices/acpi/device.h"

#include <utility>

namespace hako::acpi_pm {
namespace {

constexpr std::uint8_t kSleepEnable = 0x20;
constexpr std::uint8_t kWakeStatus = 0x80;

}  // namespace

Device::Device(IrqLine ged, PlatformEvents& events, const std::optional<State>& state)
    : ged_(std::move(ged)), events_(events), state_(state.value_or(State{})) {
    state_.sleep_status &= kWakeStatus;
    state_.events &= kEventsAll;
}

void Device::read(std::uint64_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    for (std::byte& byte : data) {
        std::uint8_t value = 0;
        if (offset == kSleepStatus) value = state_.sleep_status;
        if (offset == kEvents) value = std::exchange(state_.events, std::uint8_t{0});
        byte = static_cast<std::byte>(value);
        ++offset;
    }
}

void Device::write(std::uint64_t offset, std::span<const std::byte> data) {
    for (const std::byte byte : data) {
        const auto value = std::to_integer<std::uint8_t>(byte);
        switch (offset++) {
            case kSleepControl:
                // Only S5 is offered in the DSDT; another sleep type has no meaning here.
                if ((value & kSleepEnable) != 0 && ((value >> 2) & 7) == kSleepTypeS5) events_.power_off();
                break;
            case kSleepStatus: {
                const std::lock_guard lock(mutex_);
                state_.sleep_status &= static_cast<std::uint8_t>(~value);
                break;
            }
            case kReset:
                if (value == kResetValue) events_.reset();
                break;
            default:
                break;
        }
    }
}

void Device::raise(std::uint8_t event) {
    {
        const std::lock_guard lock(mutex_);
        state_.events |= event;
    }
    ged_.pulse();
}

void Device::repeat_edge() const {
    if (state().events != 0) ged_.pulse();
}

State Device::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

}  // namespace hako::acpi_pm
