// The migratable state of an entropy device: what its driver saw. What it gave out is not to be repeated.
#pragma once

#include <cstdint>

#include "vmm/state/fields.h"

namespace hako::virtio::rng {

struct State {
    std::uint64_t features = 0;  ///< offered

    bool operator==(const State&) const = default;
};

}  // namespace hako::virtio::rng

namespace hako::state {

template <>
struct Fields<virtio::rng::State> {
    static constexpr auto list = std::tuple(hex("features", &virtio::rng::State::features));
};

}  // namespace hako::state
