// One bit a guest page, of one memory region: a set that one thread works with.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/base/units.h"

namespace hako {

class PageSet {
  public:
    PageSet() = default;
    /// None of the pages of `bytes` bytes, rounded up to whole 4 KiB pages.
    explicit PageSet(std::uint64_t bytes) : words_((bytes + kPageSize * 64 - 1) / (kPageSize * 64)) {}

    /// Bit n of word w is page 64 * w + n. KVM's dirty logs look the same.
    [[nodiscard]] std::vector<std::uint64_t>& words() { return words_; }
    [[nodiscard]] const std::vector<std::uint64_t>& words() const { return words_; }

    [[nodiscard]] bool contains(std::uint64_t page) const {
        return (words_[page / 64] >> page % 64 & 1) != 0;
    }
    void insert(std::uint64_t page) { words_[page / 64] |= std::uint64_t{1} << page % 64; }
    [[nodiscard]] std::uint64_t count() const {
        std::uint64_t sum = 0;
        for (const std::uint64_t word : words_)
            sum += static_cast<std::uint64_t>(std::popcount(word));
        return sum;
    }

    void insert_all(const PageSet& other) {
        for (std::size_t i = 0; i < words_.size() && i < other.words_.size(); ++i)
            words_[i] |= other.words_[i];
    }

    /// Calls `visit` with the offset and the length, in bytes, of each run of pages in the set, in order. A
    /// run is `longest` bytes at most, a multiple of the page size.
    template <typename Visit>
    void for_each_run(std::uint64_t longest, Visit visit) const {
        std::uint64_t first = 0;
        std::uint64_t count = 0;
        const auto flush = [&] {
            if (count > 0) visit(first * kPageSize, count * kPageSize);
            count = 0;
        };
        for (std::size_t index = 0; index < words_.size(); ++index) {
            for (std::uint64_t word = words_[index]; word != 0;) {
                const auto skip = static_cast<unsigned>(std::countr_zero(word));
                const auto length = static_cast<unsigned>(std::countr_one(word >> skip));
                std::uint64_t page = index * 64 + skip;
                if (count > 0 && first + count != page) flush();
                for (std::uint64_t left = length; left > 0;) {
                    if (count == 0) first = page;
                    const std::uint64_t take = std::min<std::uint64_t>(left, longest / kPageSize - count);
                    count += take;
                    page += take;
                    left -= take;
                    if (count == longest / kPageSize) flush();
                }
                word = skip + length == 64 ? 0 : word & (~std::uint64_t{0} << (skip + length));
            }
        }
        flush();
    }

  private:
    std::vector<std::uint64_t> words_;
};

}  // namespace hako
