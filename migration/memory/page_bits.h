// One bit a guest page, and the runs of set ones: found a word at a time.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "migration/protocol/memory_layout.h"

namespace hako::migration {

/// Bit n of word w: page 64 * w + n of a region.
using RegionBits = std::vector<std::uint64_t>;
/// Of each region of a layout.
using PageBits = std::vector<RegionBits>;

/// Bits for a layout, all set or all clear; those beyond a region's end are clear.
[[nodiscard]] PageBits make_bits(const MemoryLayout& layout, bool set);
[[nodiscard]] std::uint64_t count_bits(const PageBits& bits);
/// Sets in `bits` what is set in `more`; both are of one layout.
void add_bits(PageBits& bits, const PageBits& more);
/// Clears in `bits` what is set in `less`.
void remove_bits(PageBits& bits, const PageBits& less);

struct PageRun {
    std::uint64_t first = 0;
    std::uint64_t pages = 0;

    bool operator==(const PageRun&) const = default;
};

/// Goes through the runs of set bits of a region, none longer than `max_pages`.
class RunScanner {
  public:
    /// Bits [first, end) of `words`, which has at least `end` bits.
    RunScanner(std::span<const std::uint64_t> words, std::uint64_t first, std::uint64_t end,
               std::uint64_t max_pages)
        : words_(words), at_(first), end_(end), max_pages_(max_pages) {}

    std::optional<PageRun> next() {
        const std::uint64_t first = find(at_, end_, 0);
        if (first >= end_) return std::nullopt;
        const std::uint64_t limit = max_pages_ < end_ - first ? first + max_pages_ : end_;
        at_ = find(first, limit, ~std::uint64_t{0});
        return PageRun{.first = first, .pages = at_ - first};
    }

  private:
    /// The first bit in [from, to) that is set in words ^ flip, or `to`.
    [[nodiscard]] std::uint64_t find(std::uint64_t from, std::uint64_t to, std::uint64_t flip) const {
        if (from >= to) return to;
        std::uint64_t index = from / 64;
        std::uint64_t word = (words_[index] ^ flip) & (~std::uint64_t{0} << (from % 64));
        while (word == 0) {
            if (++index * 64 >= to) return to;
            word = words_[index] ^ flip;
        }
        const std::uint64_t found = index * 64 + static_cast<std::uint64_t>(std::countr_zero(word));
        return found < to ? found : to;
    }

    std::span<const std::uint64_t> words_;
    std::uint64_t at_;
    std::uint64_t end_;
    std::uint64_t max_pages_;
};

}  // namespace hako::migration
