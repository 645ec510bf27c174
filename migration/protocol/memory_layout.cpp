#include "migration/protocol/memory_layout.h"

namespace hako::migration {

Result<> MemoryLayout::check() const {
    if (regions.empty() || regions.size() > kMaxRegions)
        return fail_input("memory in {} regions: 1 to {} are possible", regions.size(), kMaxRegions);
    std::uint64_t end = 0;
    for (const Region& region : regions) {
        if (region.bytes == 0 || !is_aligned(region.address | region.bytes, kPageSize))
            return fail_input("memory at {:#x} of {:#x} bytes: not whole pages", region.address,
                              region.bytes);
        if (region.address < end)
            return fail_input("memory at {:#x}: overlaps, or is out of order", region.address);
        const auto next = checked_add(region.address, region.bytes);
        if (!next || *next > kMaxAddress)
            return fail_input("memory at {:#x} of {:#x} bytes: beyond 52 bits", region.address, region.bytes);
        end = *next;
    }
    return {};
}

std::uint64_t MemoryLayout::pages() const {
    std::uint64_t sum = 0;
    for (const Region& region : regions)
        sum += region.pages();
    return sum;
}

std::optional<PagePlace> find_pages(const MemoryLayout& layout, std::uint64_t address, std::uint64_t pages) {
    if (!is_aligned(address, kPageSize)) return std::nullopt;
    for (std::size_t index = 0; index < layout.regions.size(); ++index) {
        const Region& region = layout.regions[index];
        if (address < region.address || address - region.address >= region.bytes) continue;
        const std::uint64_t first = (address - region.address) / kPageSize;
        if (pages > region.pages() - first) return std::nullopt;
        return PagePlace{.region = index, .first = first};
    }
    return std::nullopt;
}

}  // namespace hako::migration
