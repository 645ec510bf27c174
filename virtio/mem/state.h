// The migratable state of a memory device: which of its blocks are plugged, and what is asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/state/fields.h"

namespace hako::virtio::mem {

struct State {
    std::uint64_t features = 0;     ///< offered
    std::uint64_t address = 0;      ///< of the region
    std::uint64_t region_size = 0;  ///< bytes, as those below
    std::uint64_t block_size = 0;
    std::uint64_t requested = 0;         ///< what the driver is to plug
    std::vector<std::uint64_t> plugged;  ///< bit n of word w: block 64 * w + n

    bool operator==(const State&) const = default;
};

/// Words of State::plugged, at most: of 16 TiB in blocks of 2 MiB.
inline constexpr std::uint32_t kMaxWords = 128 * 1024;

}  // namespace hako::virtio::mem

namespace hako::state {

template <>
struct Fields<virtio::mem::State> {
    using T = virtio::mem::State;
    static constexpr auto list = std::tuple(
        hex("features", &T::features), hex("address", &T::address), field("region_size", &T::region_size),
        field("block_size", &T::block_size), field("requested", &T::requested),
        upto(virtio::mem::kMaxWords, "plugged", &T::plugged).in_hex());
};

}  // namespace hako::state
