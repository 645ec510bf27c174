// The migratable state of a watchdog.
#pragma once

#include <cstdint>

#include "devices/pci/function.h"
#include "devices/watchdog/countdown.h"
#include "devices/watchdog/registers.h"
#include "vmm/state/fields.h"

namespace hako::watchdog {

struct State {
    pci::Function::State function;  ///< with its configuration and lock registers
    std::uint32_t timer1 = kTimerMask;
    std::uint32_t timer2 = kTimerMask;
    std::uint8_t unlocked = 0;  ///< how many of the two unlock words were written
    CountdownState countdown;

    bool operator==(const State&) const = default;
};

}  // namespace hako::watchdog

namespace hako::state {

template <>
struct Fields<watchdog::State> {
    using T = watchdog::State;
    static constexpr auto list =
        std::tuple(field("function", &T::function), hex("timer1", &T::timer1), hex("timer2", &T::timer2),
                   field("unlocked", &T::unlocked), field("countdown", &T::countdown));
};

}  // namespace hako::state
