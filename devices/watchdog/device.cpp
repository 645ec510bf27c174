#include "devices/watchdog/device.h"

#include <array>
#include <mutex>
#include <utility>

#include "vmm/base/units.h"

namespace hako::watchdog {
namespace {

constexpr pci::Identity kIdentity{
    .vendor = kVendor, .device = kDevice, .class_code = kClassCode, .revision = 2};
constexpr std::uint8_t kBothUnlocked = 2;

std::optional<pci::Function::State> function_of(const std::optional<State>& state) {
    return state ? std::optional(state->function) : std::nullopt;
}

Result<> check(const State& state, std::uint8_t lock_register) {
    constexpr auto kLongest = static_cast<std::uint64_t>((kSlowTick * (kTimerMask + 1)).count());
    const CountdownState& countdown = state.countdown;
    if ((state.timer1 & ~kTimerMask) != 0 || (state.timer2 & ~kTimerMask) != 0 ||
        state.unlocked > kBothUnlocked)
        return fail_input("its registers were saved with values that they cannot have");
    if (countdown.stage > 2 || countdown.left_ns > kLongest ||
        (countdown.stage != 0 && (lock_register & kEnabled) == 0))
        return fail_input("it was saved in stage {} with {} ns left, which cannot be", countdown.stage,
                          countdown.left_ns);
    return {};
}

}  // namespace

Result<std::unique_ptr<Device>> Device::create(const Config& config, const Services& services,
                                               std::optional<State> restored, Clock now) {
    std::unique_ptr<Device> device(new Device(config, services, restored, now));
    HAKO_TRY(device->build(services.engine, restored ? &*restored : nullptr, now));
    return device;
}

Device::Device(const Config& config, const Services& services, std::optional<State> restored, Clock now)
    : Function(services.space, config.id, kIdentity, function_of(restored)),
      countdown_([&events = services.events] { events.watchdog_expired(); }, now,
                 restored ? restored->countdown : CountdownState{.timed_out = config.timed_out}) {}

Result<> Device::build(io::Engine& engine, const State* restored, Clock now) {
    HAKO_TRY(add_bar(kBar, pci::BarType::kMemory32, kBarSize));
    HAKO_TRY(add_register(kConfigRegister, 2, kConfigBits));
    HAKO_TRY(add_register(kLockRegister, 1, kLockBits));
    alarm_ = HAKO_TRY(io::Alarm::create(engine, countdown_, now));
    HAKO_TRY(finish_config());
    const std::lock_guard lock(mutex());
    lock_register_ = config().get8(kLockRegister);
    if (restored != nullptr) {
        HAKO_TRY_WRAP(check(*restored, lock_register_), "{}", name());
        timer1_ = restored->timer1;
        timer2_ = restored->timer2;
        unlocked_ = restored->unlocked;
    }
    update_course();
    return {};
}

Device::~Device() {
    unmap_bars();
    alarm_.reset();
}

void Device::resume() {
    poke_if(countdown_.resume());
}

State Device::state() const {
    const std::lock_guard lock(mutex());
    return {.function = function_state(),
            .timer1 = timer1_,
            .timer2 = timer2_,
            .unlocked = unlocked_,
            .countdown = countdown_.state()};
}

void Device::read_bar(unsigned /*index*/, std::uint64_t offset, std::span<std::byte> data) {
    const CountdownState now = countdown_.state();
    std::uint64_t value = 0;
    switch (offset) {
        case kTimer1:
            value = timer1_;
            break;
        case kTimer2:
            value = timer2_;
            break;
        case kInterruptStatus:
            value = now.interrupt ? 1 : 0;
            break;
        case kReload:
            value = now.timed_out ? kTimeoutBit : 0;
            break;
        default:
            break;
    }
    store_le(data, value);
}

void Device::write_bar(unsigned /*index*/, std::uint64_t offset, std::span<const std::byte> data) {
    const std::uint64_t value = load_le(data);
    if (offset == kReload) return write_reload(static_cast<std::uint16_t>(value));
    if (offset == kInterruptStatus) {
        if ((value & 1) != 0) countdown_.clear_interrupt();
        return;
    }
    if (offset != kTimer1 && offset != kTimer2) return;
    if (std::exchange(unlocked_, std::uint8_t{0}) != kBothUnlocked) return;
    (offset == kTimer1 ? timer1_ : timer2_) = static_cast<std::uint32_t>(value) & kTimerMask;
    update_course();
}

void Device::write_reload(std::uint16_t value) {
    if (unlocked_ == kBothUnlocked) {
        unlocked_ = 0;
        if ((value & kTimeoutBit) != 0) countdown_.clear_timed_out();
        if ((value & kReloadBit) != 0) poke_if(countdown_.reload());
        return;
    }
    // The first word begins the sequence anew, wherever it stands; anything else ends it.
    if (value == kUnlock1) {
        unlocked_ = 1;
    } else {
        unlocked_ = unlocked_ == 1 && value == kUnlock2 ? kBothUnlocked : 0;
    }
}

void Device::after_config_write(std::uint32_t offset, std::size_t length) {
    const auto touches = [&](std::uint32_t at, std::uint32_t size) {
        return offset < at + size && offset + length > at;
    };
    if (touches(kConfigRegister, 2)) update_course();
    if (touches(kLockRegister, 1)) follow_lock_register();
}

void Device::follow_lock_register() {
    if ((lock_register_ & kLocked) != 0) {
        config().set(kLockRegister, std::array{lock_register_});
        return;
    }
    const std::uint8_t before = std::exchange(lock_register_, config().get8(kLockRegister));
    update_course();
    if (((before ^ lock_register_) & kEnabled) == 0) return;
    if ((lock_register_ & kEnabled) != 0) {
        poke_if(countdown_.start());
    } else {
        countdown_.stop();
    }
}

Course Device::course() const {
    const std::uint16_t settings = config().get16(kConfigRegister);
    const std::chrono::nanoseconds tick = (settings & kFast) != 0 ? kFastTick : kSlowTick;
    return {.first = tick * timer1_,
            .second = tick * timer2_,
            .interrupt = (settings & kInterruptType) == kInterruptIrq,
            .reset = (settings & kOutputOff) == 0,
            .again = (lock_register_ & kFreeRunning) != 0};
}

void Device::poke_if(bool earlier) const {
    if (earlier) alarm_->poke();
}

}  // namespace hako::watchdog
