// How a disk that moves along is cut up: blocks, and chunks of them that go over one connection.
#pragma once

#include <cstdint>
#include <span>

#include "migration/memory/page_bits.h"
#include "migration/protocol/messages.h"

namespace hako::migration {

/// A chunk is the blocks of one word of bits: 4 MiB, as of memory. All of it goes over the same connection,
/// so no version of a block overtakes a newer one.
inline constexpr std::uint64_t kChunkBlocks = 64;

/// Of each disk: bit n of word w is block 64 * w + n.
using BlockBits = std::vector<RegionBits>;

/// Bits for these disks, all set or all clear; those beyond a disk's end are clear.
[[nodiscard]] inline BlockBits make_block_bits(std::span<const DiskShape> disks, bool set) {
    BlockBits bits;
    for (const DiskShape& disk : disks) {
        RegionBits words((disk.blocks() + 63) / 64, set ? ~std::uint64_t{0} : 0);
        if (set && disk.blocks() % 64 != 0) words.back() >>= 64 - disk.blocks() % 64;
        bits.push_back(std::move(words));
    }
    return bits;
}

/// The connection of a block.
[[nodiscard]] constexpr unsigned connection_of_block(std::size_t disk, std::uint64_t block,
                                                     unsigned connections) {
    return static_cast<unsigned>((disk + block / kChunkBlocks) % connections);
}

/// Bytes of `count` blocks from `first`: the last block of a disk may be a part of one.
[[nodiscard]] constexpr std::uint64_t bytes_of_blocks(std::uint64_t disk_bytes, std::uint64_t first,
                                                      std::uint64_t count) {
    const std::uint64_t begin = first * kBlockBytes;
    const std::uint64_t end = (first + count) * kBlockBytes;
    return (end < disk_bytes ? end : disk_bytes) - begin;
}

}  // namespace hako::migration
