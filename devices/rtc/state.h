// The migratable state of the real-time clock.
#pragma once

#include <array>
#include <cstdint>

#include "vmm/state/fields.h"

namespace hako::rtc {

inline constexpr std::size_t kRamSize = 128;

struct State {
    std::uint8_t index = 0;  ///< selected byte, 0 to 127
    /// All 128 bytes. The time bytes count only while the clock is stopped (register B, SET); else they are
    /// worked out from the host's clock and the offset.
    std::array<std::uint8_t, kRamSize> ram{};
    std::int64_t offset_seconds = 0;  ///< the guest's clock minus the host's (UTC)

    bool operator==(const State&) const = default;
};

}  // namespace hako::rtc

namespace hako::state {

template <>
struct Fields<rtc::State> {
    using T = rtc::State;
    static constexpr auto list = std::tuple(field("index", &T::index), field("ram", &T::ram),
                                            field("offset_seconds", &T::offset_seconds));
};

}  // namespace hako::state
