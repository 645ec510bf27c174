// The VM generation ID: a number in guest memory that changes when there may be two of this VM.
// (Microsoft, Virtual Machine Generation ID)
#pragma once

#include <array>
#include <cstdint>

#include "vmm/base/result.h"
#include "vmm/state/fields.h"

namespace hako::vmgenid {

/// The device is these bytes, at layout::kGenerationId; the DSDT tells the guest of them, and a Notify that
/// they have changed (acpi_pm::kEventGeneration).
struct State {
    std::array<std::uint8_t, 16> id{};

    bool operator==(const State&) const = default;
};

/// One that no other VM has.
[[nodiscard]] Result<State> fresh();

}  // namespace hako::vmgenid

namespace hako::state {

template <>
struct Fields<vmgenid::State> {
    static constexpr auto list = std::tuple(field("id", &vmgenid::State::id));
};

}  // namespace hako::state
