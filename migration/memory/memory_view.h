// Guest memory as a migration sees it: addresses of the layout, and where they are mapped here.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "migration/protocol/memory_layout.h"

namespace hako::migration {

struct MemoryView {
    MemoryLayout layout;                         ///< checked
    std::vector<std::span<std::byte>> mappings;  ///< of each region, as long as the region

    [[nodiscard]] std::span<std::byte> pages(const PagePlace& place, std::uint64_t count) const {
        return mappings[place.region].subspan(place.first * kPageSize, count * kPageSize);
    }
};

}  // namespace hako::migration
