// One bit a guest page, set by hako's own writes: KVM's log sees only the guest's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "vmm/base/units.h"
#include "vmm/memory/bit_range.h"

namespace hako {

/// Bits of the pages of one memory region. Any thread sets; one reader takes. No lock.
class DirtyBitmap {
  public:
    /// Covers `bytes` bytes, rounded up to whole 4 KiB pages; all clean.
    explicit DirtyBitmap(std::uint64_t bytes)
        : words_((bytes + kPageSize * 64 - 1) / (kPageSize * 64)),
          bits_(new std::atomic<std::uint64_t>[words_]()) {}

    /// Marks every page that [offset, offset + length) touches. The caller keeps the range inside the region.
    void mark(std::uint64_t offset, std::uint64_t length) {
        if (length == 0) return;
        const std::uint64_t first = offset / kPageSize;
        const std::uint64_t last = (offset + length - 1) / kPageSize;
        for_each_word(first, last - first + 1, [this](std::uint64_t word, std::uint64_t mask) {
            bits_[word].fetch_or(mask, std::memory_order_release);
        });
    }

    [[nodiscard]] std::size_t words() const { return words_; }
    /// Returns word `index` (bit n: page 64 * index + n) and makes its pages clean.
    std::uint64_t take(std::size_t index) { return bits_[index].exchange(0, std::memory_order_acquire); }

  private:
    std::size_t words_;
    std::unique_ptr<std::atomic<std::uint64_t>[]> bits_;
};

}  // namespace hako
