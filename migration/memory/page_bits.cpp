#include "migration/memory/page_bits.h"

namespace hako::migration {

PageBits make_bits(const MemoryLayout& layout, bool set) {
    PageBits bits;
    for (const Region& region : layout.regions) {
        RegionBits& words = bits.emplace_back((region.pages() + 63) / 64, set ? ~std::uint64_t{0} : 0);
        if (set && region.pages() % 64 != 0) words.back() >>= 64 - region.pages() % 64;
    }
    return bits;
}

std::uint64_t count_bits(const PageBits& bits) {
    std::uint64_t count = 0;
    for (const RegionBits& region : bits) {
        for (const std::uint64_t word : region)
            count += static_cast<std::uint64_t>(std::popcount(word));
    }
    return count;
}

void add_bits(PageBits& bits, const PageBits& more) {
    for (std::size_t region = 0; region < bits.size(); ++region)
        for (std::size_t word = 0; word < bits[region].size(); ++word)
            bits[region][word] |= more[region][word];
}

void remove_bits(PageBits& bits, const PageBits& less) {
    for (std::size_t region = 0; region < bits.size(); ++region)
        for (std::size_t word = 0; word < bits[region].size(); ++word)
            bits[region][word] &= ~less[region][word];
}

}  // namespace hako::migration
