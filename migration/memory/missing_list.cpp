#include "migration/memory/missing_list.h"

#include <algorithm>

namespace hako::migration {

std::vector<Missing> split_missing(const PageBits& bits) {
    std::vector<Missing> parts;
    for (std::size_t region = 0; region < bits.size(); ++region) {
        for (std::size_t at = 0; at < bits[region].size(); at += kMaxMissingWords) {
            const auto words =
                std::span(bits[region])
                    .subspan(at, std::min<std::size_t>(kMaxMissingWords, bits[region].size() - at));
            if (std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; })) continue;
            parts.push_back({.region = static_cast<std::uint32_t>(region),
                             .first = at * 64,
                             .words = {words.begin(), words.end()}});
        }
    }
    if (parts.empty()) parts.emplace_back();
    return parts;
}

Outcome<> add_missing(PageBits& bits, const MemoryLayout& layout, const Missing& part) {
    const auto beyond = [&] {
        return fail_as(Event::kGarbage,
                       "MISSING tells of {} words from page {} of region {} on: not the guest's",
                       part.words.size(), part.first, part.region);
    };
    if (part.region >= bits.size() || part.first % 64 != 0) return beyond();
    RegionBits& words = bits[part.region];
    const std::uint64_t at = part.first / 64;
    if (at > words.size() || part.words.size() > words.size() - at) return beyond();
    const std::uint64_t pages = layout.regions[part.region].pages();
    const bool has_end = at + part.words.size() == words.size() && !part.words.empty();
    if (has_end && pages % 64 != 0 && part.words.back() >> pages % 64 != 0) return beyond();
    for (std::size_t word = 0; word < part.words.size(); ++word)
        words[at + word] |= part.words[word];
    return {};
}

}  // namespace hako::migration
