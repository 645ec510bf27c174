// The registers of the watchdog timer of Intel's 6300ESB I/O controller hub. (Intel 6300ESB datasheet,
// document 300641, chapter "Watchdog Timer")
#pragma once

#include <chrono>
#include <cstdint>

namespace hako::watchdog {

// PCI configuration space.
inline constexpr std::uint16_t kVendor = 0x8086;
inline constexpr std::uint16_t kDevice = 0x25ab;
inline constexpr std::uint32_t kClassCode = 0x088000;   ///< other system peripheral
inline constexpr std::uint16_t kConfigRegister = 0x60;  ///< 16 bits
inline constexpr std::uint16_t kInterruptType = 3;  ///< of the first stage's end; only kInterruptIrq is seen
inline constexpr std::uint16_t kInterruptIrq = 0;
inline constexpr std::uint16_t kFast = 1 << 2;  ///< counts 960 ns, else 983.04 us
inline constexpr std::uint16_t kOutputOff = 1
                                            << 5;  ///< the end of the second stage does not reset the machine
inline constexpr std::uint16_t kConfigBits = kInterruptType | kFast | kOutputOff;
inline constexpr std::uint16_t kLockRegister = 0x68;  ///< 8 bits
inline constexpr std::uint8_t kLocked = 1 << 0;       ///< this register stays as it is until the reset
inline constexpr std::uint8_t kEnabled = 1 << 1;
inline constexpr std::uint8_t kFreeRunning = 1 << 2;  ///< after the second stage the first follows
inline constexpr std::uint8_t kLockBits = kLocked | kEnabled | kFreeRunning;

// Memory, BAR 0. What a stage counts (20 bits) and the reload register are written after kUnlock1 and
// kUnlock2 were written to the reload register, each time.
inline constexpr unsigned kBar = 0;
inline constexpr std::uint64_t kBarSize = 16;
inline constexpr std::uint64_t kTimer1 = 0x0;
inline constexpr std::uint64_t kTimer2 = 0x4;
inline constexpr std::uint64_t kInterruptStatus =
    0x8;                                       ///< bit 0: the first stage has ended; writing 1 clears
inline constexpr std::uint64_t kReload = 0xc;  ///< 16 bits
inline constexpr std::uint32_t kTimerMask = 0xfffff;
inline constexpr std::uint8_t kUnlock1 = 0x80;
inline constexpr std::uint8_t kUnlock2 = 0x86;
inline constexpr std::uint16_t kReloadBit = 1 << 8;   ///< both stages from their beginning
inline constexpr std::uint16_t kTimeoutBit = 1 << 9;  ///< the second stage has ended, also before a reset;
                                                      ///< writing 1 clears

/// What a timer counts: 2^15 or 2^5 clocks of a 33.3 MHz PCI bus.
inline constexpr std::chrono::nanoseconds kSlowTick{30 << 15};
inline constexpr std::chrono::nanoseconds kFastTick{30 << 5};

}  // namespace hako::watchdog
