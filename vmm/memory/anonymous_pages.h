// Of memory that is mapped from a file: which pages are none of the file's any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hako {

/// One region's. The kernel keeps a mapping for each run of pages of one kind, and has so many for a process
/// (vm.max_map_count, 65530 mostly): whoever changes pages asks first how many runs there would be.
class AnonymousPages {
  public:
    explicit AnonymousPages(std::uint64_t pages) : anonymous_(pages) {}

    /// All of [first, first + count) are.
    [[nodiscard]] bool cover(std::uint64_t first, std::uint64_t count) const {
        for (std::uint64_t page = first; page < first + count; ++page)
            if (!anonymous_[page]) return false;
        return true;
    }
    /// At how many places one kind would follow on the other if these were too.
    [[nodiscard]] std::size_t edges_with(std::uint64_t first, std::uint64_t count) const {
        const std::uint64_t end = first + count;
        std::size_t edges = edges_;
        for (std::uint64_t page = first == 0 ? 1 : first; page <= end && page < anonymous_.size(); ++page)
            edges -= anonymous_[page] != anonymous_[page - 1] ? 1U : 0U;
        edges += first > 0 && !anonymous_[first - 1] ? 1U : 0U;
        edges += end < anonymous_.size() && !anonymous_[end] ? 1U : 0U;
        return edges;
    }
    void add(std::uint64_t first, std::uint64_t count) {
        edges_ = edges_with(first, count);
        for (std::uint64_t page = first; page < first + count; ++page)
            anonymous_[page] = true;
    }

  private:
    std::vector<bool> anonymous_;
    std::size_t edges_ = 0;
};

}  // namespace hako
