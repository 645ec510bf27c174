#include "devices/rtc/device.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace hako::rtc {
namespace {

// MC146818 registers.
constexpr std::uint8_t kSeconds = 0x00;
constexpr std::uint8_t kMinutes = 0x02;
constexpr std::uint8_t kHours = 0x04;
constexpr std::uint8_t kWeekday = 0x06;
constexpr std::uint8_t kDay = 0x07;
constexpr std::uint8_t kMonth = 0x08;
constexpr std::uint8_t kYear = 0x09;
constexpr std::uint8_t kA = 0x0a;
constexpr std::uint8_t kB = 0x0b;
constexpr std::uint8_t kC = 0x0c;
constexpr std::uint8_t kD = 0x0d;
constexpr std::uint8_t kCentury = 0x32;

constexpr std::uint8_t kAUpdating = 0x80;  // UIP: never set, an update takes no time here
constexpr std::uint8_t kADefault = 0x26;   // 32768 Hz, 1024 Hz rate
constexpr std::uint8_t kBSet = 0x80;       // the clock stands still while the guest sets it
constexpr std::uint8_t kBBinary = 0x04;    // else BCD
constexpr std::uint8_t kB24Hours = 0x02;
constexpr std::uint8_t kDValid = 0x80;
constexpr std::uint8_t kPm = 0x80;

/// About 28500 years: more than a guest can set, less than what the calendar's types can hold.
constexpr std::int64_t kMaxOffset = 900'000'000'000;

bool is_time(std::uint8_t index) {
    switch (index) {
        case kSeconds:
        case kMinutes:
        case kHours:
        case kWeekday:
        case kDay:
        case kMonth:
        case kYear:
        case kCentury:
            return true;
        default:
            return false;
    }
}

std::int64_t host_now() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

/// `value` is 0 to 99.
std::uint8_t encode(unsigned value, bool binary) {
    return static_cast<std::uint8_t>(binary ? value : (value / 10) << 4 | value % 10);
}
/// At most 255, whatever the guest wrote.
unsigned decode(std::uint8_t value, bool binary) {
    return binary ? value : (static_cast<unsigned>(value) >> 4) * 10 + (value & 0x0fU);
}

}  // namespace

Device::Device(Config config, const std::optional<State>& state)
    : config_(std::move(config)), state_(state.value_or(State{})) {
    if (!config_.now) config_.now = host_now;
    if (!state) {
        state_.ram[kA] = kADefault;
        state_.ram[kB] = kB24Hours;
    }
    state_.index &= kRamSize - 1;
    state_.offset_seconds = std::clamp(state_.offset_seconds, -kMaxOffset, kMaxOffset);
}

void Device::read(std::uint64_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    for (std::byte& byte : data) {
        // The index port cannot be read back.
        byte = offset == 1 ? static_cast<std::byte>(read_register(state_.index)) : std::byte{0xff};
        ++offset;
    }
}

void Device::write(std::uint64_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    for (const std::byte byte : data) {
        const auto value = std::to_integer<std::uint8_t>(byte);
        if (offset == 0) state_.index = value & (kRamSize - 1);  // bit 7 masks NMIs
        if (offset == 1) write_register(state_.index, value);
        ++offset;
    }
}

State Device::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

std::uint8_t Device::read_register(std::uint8_t index) {
    if (is_time(index) && (state_.ram[kB] & kBSet) == 0) load_time();
    switch (index) {
        case kC:
            return 0;  // no interrupt ever pending
        case kD:
            return kDValid;
        default:
            return state_.ram[index];
    }
}

void Device::write_register(std::uint8_t index, std::uint8_t value) {
    const bool stopped = (state_.ram[kB] & kBSet) != 0;
    switch (index) {
        case kA:
            state_.ram[kA] = value & static_cast<std::uint8_t>(~kAUpdating);
            return;
        case kB:
            if (!stopped) load_time();
            if (stopped && (value & kBSet) == 0) {
                // In the format in which the guest wrote them.
                store_time();
                state_.ram[kB] = value;
                load_time();
                return;
            }
            state_.ram[kB] = value;
            return;
        case kC:
        case kD:
            return;
        default:
            break;
    }
    if (!is_time(index)) {
        state_.ram[index] = value;
        return;
    }
    if (!stopped) load_time();
    state_.ram[index] = value;
    if (!stopped) store_time();
}

/// The time bytes, from the host's clock.
void Device::load_time() {
    const bool binary = (state_.ram[kB] & kBBinary) != 0;
    const std::chrono::sys_seconds now{std::chrono::seconds(config_.now() + state_.offset_seconds)};
    const auto days = std::chrono::floor<std::chrono::days>(now);
    const std::chrono::year_month_day date(days);
    const std::chrono::hh_mm_ss time(now - days);
    const auto hour = static_cast<unsigned>(time.hours().count());
    // Only a guest that sets absurd dates leaves 0 to 9999.
    const auto year = static_cast<unsigned>((static_cast<int>(date.year()) % 10000 + 10000) % 10000);

    auto& ram = state_.ram;
    ram[kSeconds] = encode(static_cast<unsigned>(time.seconds().count()), binary);
    ram[kMinutes] = encode(static_cast<unsigned>(time.minutes().count()), binary);
    if ((ram[kB] & kB24Hours) != 0) {
        ram[kHours] = encode(hour, binary);
    } else {
        ram[kHours] = encode((hour + 11) % 12 + 1, binary) | (hour >= 12 ? kPm : std::uint8_t{0});
    }
    ram[kWeekday] = encode(std::chrono::weekday(days).c_encoding() + 1, binary);
    ram[kDay] = encode(static_cast<unsigned>(date.day()), binary);
    ram[kMonth] = encode(static_cast<unsigned>(date.month()), binary);
    ram[kYear] = encode(year % 100, binary);
    ram[kCentury] = encode(year / 100, binary);
}

/// The offset, from the time bytes. A date such as 31 February runs over into the next month.
void Device::store_time() {
    const auto& ram = state_.ram;
    const bool binary = (ram[kB] & kBBinary) != 0;
    unsigned hour = decode(ram[kHours], binary);
    if ((ram[kB] & kB24Hours) == 0)
        hour = decode(ram[kHours] & 0x7f, binary) % 12 + ((ram[kHours] & kPm) != 0 ? 12U : 0U);
    const unsigned year = decode(ram[kCentury], binary) * 100 + decode(ram[kYear], binary);
    const unsigned month = decode(ram[kMonth], binary);
    const auto first = std::chrono::year(static_cast<int>(year)) / 1 / 1;
    // Every part is at most 255: nothing here can overflow.
    const auto days = std::chrono::sys_days((first + std::chrono::months(static_cast<int>(month) - 1))) +
                      std::chrono::days(static_cast<int>(decode(ram[kDay], binary)) - 1);
    const std::chrono::sys_seconds set = days + std::chrono::hours(hour) +
                                         std::chrono::minutes(decode(ram[kMinutes], binary)) +
                                         std::chrono::seconds(decode(ram[kSeconds], binary));
    state_.offset_seconds = set.time_since_epoch().count() - config_.now();
}

}  // namespace hako::rtc
