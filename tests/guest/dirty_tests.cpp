// Memory that is written for ever: whatever takes a copy of it must take all of one moment.
#include "tests.h"

namespace guest {
namespace {

constexpr std::uint64_t kFirst = 16 << 20;
constexpr std::uint64_t kPages = 1024;
constexpr std::uint64_t kPageSize = 4096;

volatile std::uint64_t& word_of(std::uint64_t page) {
    return *reinterpret_cast<volatile std::uint64_t*>(kFirst + page * kPageSize + page % 512 * 8);
}

}  // namespace

/// Counts in one page after the other, and checks what it counted a round ago. Says each round.
void test_dirty() {
    for (std::uint64_t page = 0; page < kPages; ++page)
        word_of(page) = page;
    for (std::uint64_t round = 1;; ++round) {
        for (std::uint64_t page = 0; page < kPages; ++page) {
            CHECK(word_of(page) == page + round - 1);
            word_of(page) = page + round;
        }
        print("round ");
        print_hex(round);
        print("\n");
    }
}

}  // namespace guest
