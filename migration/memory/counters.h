// What went over the wire, counted by the connections' threads and read by anyone.
#pragma once

#include <atomic>
#include <cstdint>

namespace hako::migration {

/// Values at one moment.
struct MemoryTotals {
    std::uint64_t bytes = 0;        ///< on the wire, headers too, disks too
    std::uint64_t pages = 0;        ///< whose content went
    std::uint64_t zero_pages = 0;   ///< that were told to be zero
    std::uint64_t blocks = 0;       ///< of disks that move along, zero ones too
    std::uint64_t block_bytes = 0;  ///< of `bytes`: what these took

    bool operator==(const MemoryTotals&) const = default;
    friend MemoryTotals operator-(const MemoryTotals& a, const MemoryTotals& b) {
        return {.bytes = a.bytes - b.bytes,
                .pages = a.pages - b.pages,
                .zero_pages = a.zero_pages - b.zero_pages,
                .blocks = a.blocks - b.blocks,
                .block_bytes = a.block_bytes - b.block_bytes};
    }
    MemoryTotals& operator+=(const MemoryTotals& more) {
        bytes += more.bytes;
        pages += more.pages;
        zero_pages += more.zero_pages;
        blocks += more.blocks;
        block_bytes += more.block_bytes;
        return *this;
    }
};

class MemoryCounters {
  public:
    void add(const MemoryTotals& more) {
        bytes_.fetch_add(more.bytes, std::memory_order_relaxed);
        pages_.fetch_add(more.pages, std::memory_order_relaxed);
        zero_pages_.fetch_add(more.zero_pages, std::memory_order_relaxed);
        blocks_.fetch_add(more.blocks, std::memory_order_relaxed);
        block_bytes_.fetch_add(more.block_bytes, std::memory_order_relaxed);
    }
    [[nodiscard]] MemoryTotals totals() const {
        return {.bytes = bytes_.load(std::memory_order_relaxed),
                .pages = pages_.load(std::memory_order_relaxed),
                .zero_pages = zero_pages_.load(std::memory_order_relaxed),
                .blocks = blocks_.load(std::memory_order_relaxed),
                .block_bytes = block_bytes_.load(std::memory_order_relaxed)};
    }

  private:
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint64_t> pages_{0};
    std::atomic<std::uint64_t> zero_pages_{0};
    std::atomic<std::uint64_t> blocks_{0};
    std::atomic<std::uint64_t> block_bytes_{0};
};

}  // namespace hako::migration
