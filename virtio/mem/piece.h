// How much memory is populated or given back at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vmm/base/units.h"

namespace hako::virtio::mem {

/// Blocks of a batch, so that the engine's other devices come in between.
constexpr std::uint64_t blocks_at_once(std::uint64_t block_size) {
    return std::max<std::uint64_t>(8 * MiB / block_size, 1);
}

}  // namespace hako::virtio::mem
