// The migratable state of a virtio socket device. Connections are no part of it: they end when it moves.
#pragma once

#include <cstdint>

#include "vmm/state/fields.h"

namespace hako::virtio::vsock {

struct State {
    std::uint64_t features = 0;  ///< offered

    bool operator==(const State&) const = default;
};

}  // namespace hako::virtio::vsock

namespace hako::state {

template <>
struct Fields<virtio::vsock::State> {
    using T = virtio::vsock::State;
    static constexpr auto list = std::tuple(hex("features", &T::features));
};

}  // namespace hako::state
