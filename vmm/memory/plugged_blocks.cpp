#include "vmm/memory/plugged_blocks.h"

#include <algorithm>
#include <bit>

#include "vmm/memory/bit_range.h"

namespace hako {

std::uint64_t PluggedBlocks::plugged(std::uint64_t first, std::uint64_t blocks) const {
    std::uint64_t found = 0;
    for_each_word(first, blocks, [&](std::uint64_t index, std::uint64_t mask) {
        found += static_cast<std::uint64_t>(std::popcount(word(index) & mask));
    });
    return found;
}

void PluggedBlocks::set(std::uint64_t first, std::uint64_t blocks, bool plugged) {
    const std::uint64_t before = this->plugged(first, blocks);
    for_each_word(first, blocks, [&](std::uint64_t index, std::uint64_t mask) {
        const std::uint64_t old = word(index);
        bits_[index].store(plugged ? old | mask : old & ~mask, std::memory_order_release);
    });
    const std::uint64_t all = plugged_.load(std::memory_order_relaxed) - before;
    plugged_.store(all + (plugged ? blocks : 0), std::memory_order_relaxed);
}

std::vector<std::uint64_t> PluggedBlocks::all() const {
    std::vector<std::uint64_t> bits(words_);
    for (std::size_t index = 0; index < words_; ++index)
        bits[index] = word(index);
    return bits;
}

bool PluggedBlocks::assign(std::span<const std::uint64_t> bits) {
    if (bits.size() != words_) return false;
    if (count_ % 64 != 0 && bits.back() >> count_ % 64 != 0) return false;
    std::uint64_t plugged = 0;
    for (std::size_t index = 0; index < words_; ++index) {
        bits_[index].store(bits[index], std::memory_order_release);
        plugged += static_cast<std::uint64_t>(std::popcount(bits[index]));
    }
    plugged_.store(plugged, std::memory_order_relaxed);
    return true;
}

void PluggedBlocks::drop_unplugged(std::span<std::uint64_t> pages) const {
    const std::uint64_t per_block = block_size_ / kPageSize / 64;
    for (std::uint64_t block = 0; block < count_; ++block)
        if ((word(block / 64) >> block % 64 & 1) == 0)
            std::ranges::fill(pages.subspan(block * per_block, per_block), 0);
}

}  // namespace hako
