// The migratable state of a balloon: what its driver saw and said.
#pragma once

#include <cstdint>

#include "vmm/state/fields.h"

namespace hako::virtio::balloon {

struct State {
    std::uint64_t features = 0;    ///< offered
    std::uint32_t num_pages = 0;   ///< wanted by the host
    std::uint32_t actual = 0;      ///< pages that the driver says it has given
    std::uint32_t poison_val = 0;  ///< what the driver fills free pages with

    bool operator==(const State&) const = default;
};

}  // namespace hako::virtio::balloon

namespace hako::state {

template <>
struct Fields<virtio::balloon::State> {
    using T = virtio::balloon::State;
    static constexpr auto list = std::tuple(hex("features", &T::features), field("num_pages", &T::num_pages),
                                            field("actual", &T::actual), hex("poison_val", &T::poison_val));
};

}  // namespace hako::state
