// Which blocks of guest memory are plugged, where a device plugs them one by one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vmm/base/units.h"

namespace hako {

/// Blocks of one size, all unplugged at first. One thread at a time changes them, any thread looks.
class PluggedBlocks {
  public:
    /// `bytes`: a multiple of `block_size`, which is a multiple of 64 pages.
    PluggedBlocks(std::uint64_t bytes, std::uint64_t block_size)
        : block_size_(block_size),
          count_(bytes / block_size),
          words_((count_ + 63) / 64),
          bits_(new std::atomic<std::uint64_t>[words_]()) {}

    [[nodiscard]] std::uint64_t block_size() const { return block_size_; }
    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// Bytes that are plugged.
    [[nodiscard]] std::uint64_t plugged() const {
        return plugged_.load(std::memory_order_relaxed) * block_size_;
    }
    /// How many of [first, first + blocks), all of which there are.
    [[nodiscard]] std::uint64_t plugged(std::uint64_t first, std::uint64_t blocks) const;
    void set(std::uint64_t first, std::uint64_t blocks, bool plugged);

    /// Bit n of word w is block 64 * w + n; bits beyond the last are clear.
    [[nodiscard]] std::size_t words() const { return words_; }
    [[nodiscard]] std::uint64_t word(std::size_t index) const {
        return bits_[index].load(std::memory_order_acquire);
    }
    [[nodiscard]] std::vector<std::uint64_t> all() const;
    /// False, and nothing is changed, if there are other blocks in `bits` than here.
    [[nodiscard]] bool assign(std::span<const std::uint64_t> bits);

    /// Clears the bits of pages of unplugged blocks; bit n of word w is page 64 * w + n.
    void drop_unplugged(std::span<std::uint64_t> pages) const;

  private:
    std::uint64_t block_size_;
    std::uint64_t count_;
    std::size_t words_;
    std::unique_ptr<std::atomic<std::uint64_t>[]> bits_;
    std::atomic<std::uint64_t> plugged_{0};  ///< blocks
};

}  // namespace hako
