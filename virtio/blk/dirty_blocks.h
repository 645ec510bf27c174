// Which blocks of a disk were written: a copy that is made while the disk is in use has to take them again.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/base/units.h"

namespace hako::virtio::blk {

/// One bit a block. Marked by the io thread without a lock or an allocation, taken by any one other thread.
class DirtyBlocks {
  public:
    static constexpr std::uint64_t kBlockBytes = 64 * KiB;

    /// Of a disk of so many bytes; the last block may be a part of one. All are clean.
    explicit DirtyBlocks(std::uint64_t bytes)
        : blocks_((bytes + kBlockBytes - 1) / kBlockBytes), words_((blocks_ + 63) / 64) {}

    [[nodiscard]] std::size_t words() const { return words_.size(); }

    /// A write of this range is over: it is on the disk, or partly so if it failed. To be called before the
    /// guest hears of it. Not when the write begins: who takes the mark and reads the block in between would
    /// miss what is written after that.
    void mark(std::uint64_t offset, std::uint64_t length) {
        if (length == 0 || offset / kBlockBytes >= blocks_) return;
        const std::uint64_t end = std::min(blocks_, (offset + length - 1) / kBlockBytes + 1);
        for (std::uint64_t block = offset / kBlockBytes; block < end;) {
            const std::uint64_t first = block % 64;
            const std::uint64_t count = std::min(64 - first, end - block);
            // Release: who sees the mark reads what was written before it.
            words_[block / 64].fetch_or(~std::uint64_t{0} >> (64 - count) << first,
                                        std::memory_order_release);
            block += count;
        }
    }

    /// Sets the bits of blocks that were marked since the last call; `bits` has words() words.
    void take(std::span<std::uint64_t> bits) {
        for (std::size_t word = 0; word < words_.size(); ++word) {
            // Looked at first: most are clean, and a line that is only read stays in the io thread's cache.
            if (words_[word].load(std::memory_order_relaxed) != 0)
                bits[word] |= words_[word].exchange(0, std::memory_order_acquire);
        }
    }

  private:
    const std::uint64_t blocks_;
    std::vector<std::atomic<std::uint64_t>> words_;
};

}  // namespace hako::virtio::blk
