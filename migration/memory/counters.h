// What went over the wire, counted by the connections' threads and read by anyone.
#pragma once

#include <atomic>
#include <cstdint>

namespace hako::migration {

/// Values at one moment.
struct MemoryTotals {
    std::uint64_t bytes = 0;       ///< on the wire, headers too
    std::uint64_t pages = 0;       ///< whose content went
    std::uint64_t zero_pages = 0;  ///< that were told to be zero

    bool operator==(const MemoryTotals&) const = default;
    friend MemoryTotals operator-(const MemoryTotals& a, const MemoryTotals& b) {
        return {.bytes = a.bytes - b.bytes,
                .pages = a.pages - b.pages,
                .zero_pages = a.zero_pages - b.zero_pages};
    }
};

class MemoryCounters {
  public:
    void add(const MemoryTotals& more) {
        bytes_.fetch_add(more.bytes, std::memory_order_relaxed);
        pages_.fetch_add(more.pages, std::memory_order_relaxed);
        zero_pages_.fetch_add(more.zero_pages, std::memory_order_relaxed);
    }
    [[nodiscard]] MemoryTotals totals() const {
        return {.bytes = bytes_.load(std::memory_order_relaxed),
                .pages = pages_.load(std::memory_order_relaxed),
                .zero_pages = zero_pages_.load(std::memory_order_relaxed)};
    }

  private:
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint64_t> pages_{0};
    std::atomic<std::uint64_t> zero_pages_{0};
};

}  // namespace hako::migration
