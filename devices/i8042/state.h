// The migratable state of the keyboard controller.
#pragma once

#include <cstdint>

#include "vmm/state/fields.h"

namespace hako::i8042 {

struct State {
    std::uint8_t command_byte = 0;  ///< as read by command 0x20
    std::uint8_t output = 0;        ///< waits at port 0x60 while output_full
    bool output_full = false;
    std::uint8_t pending_command = 0;  ///< a command that waits for its data byte, 0: none
    bool last_was_command = false;     ///< status bit 3

    bool operator==(const State&) const = default;
};

}  // namespace hako::i8042

namespace hako::state {

template <>
struct Fields<i8042::State> {
    using T = i8042::State;
    static constexpr auto list =
        std::tuple(hex("command_byte", &T::command_byte), hex("output", &T::output),
                   field("output_full", &T::output_full), hex("pending_command", &T::pending_command),
                   field("last_was_command", &T::last_was_command));
};

}  // namespace hako::state
