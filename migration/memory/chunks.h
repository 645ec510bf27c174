// Which connection carries a page: always the same one, so that no version of it overtakes a newer one.
#pragma once

#include <cstdint>

#include "migration/protocol/memory_layout.h"

namespace hako::migration {

/// Memory is dealt out to connections in chunks of this many pages (4 MiB), counted from a region's start.
/// Small enough that the last round, too, is spread over all connections.
inline constexpr std::uint64_t kChunkPages = 1024;

/// The connection of the chunk that `place` is in.
[[nodiscard]] constexpr unsigned connection_of(const PagePlace& place, unsigned connections) {
    return static_cast<unsigned>((place.region + place.first / kChunkPages) % connections);
}

/// Do `pages` pages from `place` lie in one chunk?
[[nodiscard]] constexpr bool in_one_chunk(const PagePlace& place, std::uint64_t pages) {
    return pages > 0 && pages <= kChunkPages - place.first % kChunkPages;
}

}  // namespace hako::migration
