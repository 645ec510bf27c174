#include "devices/i8042/device.h"

#include <utility>

namespace hako::i8042 {
namespace {

// Offsets from port 0x60.
constexpr std::uint64_t kData = 0;
constexpr std::uint64_t kCommand = 4;  // status when read

constexpr std::uint8_t kStatusOutputFull = 0x01;
constexpr std::uint8_t kStatusSystem = 0x04;  // self-test passed
constexpr std::uint8_t kStatusCommand = 0x08;
constexpr std::uint8_t kStatusUnlocked = 0x10;

constexpr std::uint8_t kReadCommandByte = 0x20;
constexpr std::uint8_t kWriteCommandByte = 0x60;
constexpr std::uint8_t kAuxDisable = 0xa7;
constexpr std::uint8_t kAuxEnable = 0xa8;
constexpr std::uint8_t kAuxTest = 0xa9;
constexpr std::uint8_t kSelfTest = 0xaa;
constexpr std::uint8_t kKeyboardTest = 0xab;
constexpr std::uint8_t kKeyboardDisable = 0xad;
constexpr std::uint8_t kKeyboardEnable = 0xae;
constexpr std::uint8_t kReadOutputPort = 0xd0;
constexpr std::uint8_t kWriteOutputPort = 0xd1;
constexpr std::uint8_t kAuxLoop = 0xd3;
constexpr std::uint8_t kAuxWrite = 0xd4;
constexpr std::uint8_t kPulse = 0xf0;  // 0xf0 to 0xff; bit 0 clear pulls the reset line

constexpr std::uint8_t kSelfTestPassed = 0x55;
constexpr std::uint8_t kClockStuckLow = 0x01;
constexpr std::uint8_t kOutputPort = 0x03;  // A20 open, reset line high
constexpr std::uint8_t kOutputPortReset = 0x01;

constexpr std::uint8_t kByteSystem = 0x04;  // command byte, mirrored in the status
constexpr std::uint8_t kByteKeyboardOff = 0x10;
constexpr std::uint8_t kByteAuxOff = 0x20;

}  // namespace

Device::Device(PlatformEvents& events, const std::optional<State>& state)
    : events_(events),
      state_(state.value_or(State{.command_byte = kByteSystem | kByteKeyboardOff | kByteAuxOff})) {}

void Device::read(std::uint64_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    for (std::byte& byte : data)
        byte = static_cast<std::byte>(read_port(offset++));
}

void Device::write(std::uint64_t offset, std::span<const std::byte> data) {
    bool reset = false;
    {
        const std::lock_guard lock(mutex_);
        for (const std::byte byte : data)
            if (write_port(offset++, std::to_integer<std::uint8_t>(byte))) reset = true;
    }
    if (reset) events_.reset();
}

State Device::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

std::uint8_t Device::read_port(std::uint64_t offset) {
    if (offset == kData) {
        state_.output_full = false;
        return state_.output;
    }
    if (offset == kCommand) {
        std::uint8_t status = kStatusUnlocked;
        if (state_.output_full) status |= kStatusOutputFull;
        if ((state_.command_byte & kByteSystem) != 0) status |= kStatusSystem;
        if (state_.last_was_command) status |= kStatusCommand;
        return status;
    }
    return 0;
}

bool Device::write_port(std::uint64_t offset, std::uint8_t value) {
    if (offset == kCommand) {
        state_.last_was_command = true;
        return command(value);
    }
    if (offset == kData) {
        state_.last_was_command = false;
        return data(value);
    }
    return false;
}

bool Device::command(std::uint8_t command) {
    state_.pending_command = 0;
    switch (command) {
        case kReadCommandByte:
            answer(state_.command_byte);
            break;
        case kWriteCommandByte:
        case kWriteOutputPort:
        case kAuxLoop:
        case kAuxWrite:
            state_.pending_command = command;
            break;
        case kAuxDisable:
            state_.command_byte |= kByteAuxOff;
            break;
        case kAuxEnable:
            state_.command_byte &= static_cast<std::uint8_t>(~kByteAuxOff);
            break;
        case kKeyboardDisable:
            state_.command_byte |= kByteKeyboardOff;
            break;
        case kKeyboardEnable:
            state_.command_byte &= static_cast<std::uint8_t>(~kByteKeyboardOff);
            break;
        case kAuxTest:
        case kKeyboardTest:
            answer(kClockStuckLow);  // nothing plugged in
            break;
        case kSelfTest:
            state_.command_byte |= kByteSystem;
            answer(kSelfTestPassed);
            break;
        case kReadOutputPort:
            answer(kOutputPort);
            break;
        default:
            return command >= kPulse && (command & kOutputPortReset) == 0;
    }
    return false;
}

bool Device::data(std::uint8_t value) {
    switch (std::exchange(state_.pending_command, std::uint8_t{0})) {
        case kWriteCommandByte:
            state_.command_byte = value;
            return false;
        case kWriteOutputPort:
            return (value & kOutputPortReset) == 0;
        case kAuxLoop:
            // A controller with no mouse port does not loop the byte back, but answers.
            answer(static_cast<std::uint8_t>(~value));
            return false;
        default:
            return false;  // for a keyboard or mouse that is not there
    }
}

void Device::answer(std::uint8_t value) {
    state_.output = value;
    state_.output_full = true;
}

}  // namespace hako::i8042
