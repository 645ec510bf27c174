// The migratable state of a shared directory.
#pragma once

#include <cstdint>
#include <vector>

#include "virtio/vhost_user/protocol.h"
#include "vmm/state/fields.h"

namespace hako::virtio::fs {

struct State {
    std::uint64_t features = 0;  ///< offered
    /// The daemon's, of which nobody else knows anything; none where no driver uses the device.
    std::vector<std::uint8_t> daemon;

    bool operator==(const State&) const = default;
};

}  // namespace hako::virtio::fs

namespace hako::state {

template <>
struct Fields<virtio::fs::State> {
    using T = virtio::fs::State;
    static constexpr auto list = std::tuple(hex("features", &T::features),
                                            upto(virtio::vhost_user::kMaxDeviceState, "daemon", &T::daemon));
};

}  // namespace hako::state
