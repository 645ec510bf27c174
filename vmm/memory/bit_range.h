// A range of bits, word by word.
#pragma once

#include <cstdint>

namespace hako {

/// Calls `visit(word, mask)` for each word of 64 bits that [first, first + count) touches.
template <typename Visit>
void for_each_word(std::uint64_t first, std::uint64_t count, Visit visit) {
    if (count == 0) return;
    const std::uint64_t last = first + count - 1;
    for (std::uint64_t word = first / 64; word <= last / 64; ++word) {
        const std::uint64_t from = word == first / 64 ? first % 64 : 0;
        const std::uint64_t to = word == last / 64 ? last % 64 : 63;
        visit(word, (~std::uint64_t{0} << from) & (~std::uint64_t{0} >> (63 - to)));
    }
}

}  // namespace hako
