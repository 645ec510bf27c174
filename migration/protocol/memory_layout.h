// Guest memory as both sides agree upon it: which addresses, in which regions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/units.h"

namespace hako::migration {

inline constexpr std::uint32_t kMaxRegions = 64;
inline constexpr std::uint64_t kMaxAddress = std::uint64_t{1} << 52;

struct Region {
    std::uint64_t address = 0;  ///< guest-physical, bytes
    std::uint64_t bytes = 0;

    [[nodiscard]] std::uint64_t pages() const { return bytes / kPageSize; }
    bool operator==(const Region&) const = default;
};

/// Regions by address. Pages are 4 KiB, whatever backs them.
struct MemoryLayout {
    std::vector<Region> regions;

    /// 1 to kMaxRegions regions of whole pages, in order, without overlap.
    [[nodiscard]] Result<> check() const;
    [[nodiscard]] std::uint64_t pages() const;
    bool operator==(const MemoryLayout&) const = default;
};

/// `pages` pages from page `first` of region `region`.
struct PagePlace {
    std::size_t region = 0;
    std::uint64_t first = 0;

    bool operator==(const PagePlace&) const = default;
};

/// Where `pages` pages at a guest-physical address are, if they all lie in one region of a checked layout.
[[nodiscard]] std::optional<PagePlace> find_pages(const MemoryLayout& layout, std::uint64_t address,
                                                  std::uint64_t pages);

}  // namespace hako::migration
