// The migratable state of a 16550A.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/state/fields.h"

namespace hako::serial {

/// Registers by their names in the PC16550D data sheet, after reset.
struct State {
    std::uint8_t ier = 0;
    std::uint8_t fcr = 0;  ///< FIFO enable (bit 0) and receive trigger (bits 6 and 7)
    std::uint8_t lcr = 0;
    std::uint8_t mcr = 0;
    std::uint8_t lsr_errors = 0;  ///< overrun, until LSR is read
    std::uint8_t msr_deltas = 0;  ///< bits 0 to 3, until MSR is read
    std::uint8_t scr = 0;
    std::uint8_t dll = 12;  ///< divisor latch: 9600 baud; kept, but bytes take no time here
    std::uint8_t dlm = 0;
    bool thr_empty_pending = false;  ///< the "transmitter empty" interrupt is due
    std::vector<std::uint8_t> rx;    ///< received, not yet read: at most 16, at most 1 with the FIFO off
    std::vector<std::uint8_t> tx;    ///< written, not yet taken by the backend: at most 16

    bool operator==(const State&) const = default;
};

}  // namespace hako::serial

namespace hako::state {

template <>
struct Fields<serial::State> {
    using T = serial::State;
    static constexpr auto list = std::tuple(
        hex("ier", &T::ier), hex("fcr", &T::fcr), hex("lcr", &T::lcr), hex("mcr", &T::mcr),
        hex("lsr_errors", &T::lsr_errors), hex("msr_deltas", &T::msr_deltas), hex("scr", &T::scr),
        hex("dll", &T::dll), hex("dlm", &T::dlm), field("thr_empty_pending", &T::thr_empty_pending),
        upto(16, "rx", &T::rx), upto(16, "tx", &T::tx));
};

}  // namespace hako::state
