// The migratable state of a block device: what its driver saw and may still rely on.
#pragma once

#include <cstdint>

#include "vmm/state/fields.h"

namespace hako::virtio::blk {

/// Block sizes as the configuration space tells them, bytes.
struct Topology {
    std::uint32_t logical_block = 512;   ///< smallest unit of a request
    std::uint32_t physical_block = 512;  ///< smallest unit written without read-modify-write
    std::uint32_t minimum_io = 0;        ///< smallest efficient request; 0: not known
    std::uint32_t optimal_io = 0;        ///< best request size; 0: not known

    bool operator==(const Topology&) const = default;
};

struct State {
    std::uint64_t features = 0;  ///< offered
    std::uint64_t capacity = 0;  ///< as last shown to the driver, 512-byte sectors
    Topology topology;
    bool writeback = true;  ///< configuration field `writeback`: writes are stable only after a flush

    bool operator==(const State&) const = default;
};

}  // namespace hako::virtio::blk

namespace hako::state {

template <>
struct Fields<virtio::blk::Topology> {
    using T = virtio::blk::Topology;
    static constexpr auto list =
        std::tuple(field("logical_block", &T::logical_block), field("physical_block", &T::physical_block),
                   field("minimum_io", &T::minimum_io), field("optimal_io", &T::optimal_io));
};

template <>
struct Fields<virtio::blk::State> {
    using T = virtio::blk::State;
    static constexpr auto list =
        std::tuple(hex("features", &T::features), field("capacity", &T::capacity),
                   field("topology", &T::topology), field("writeback", &T::writeback));
};

}  // namespace hako::state
