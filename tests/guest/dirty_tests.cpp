// Memory that is written for ever: whatever takes a copy of it must take all of one moment.
#include "tests.h"

namespace guest {
namespace {

constexpr std::uint64_t kFirst = 16 << 20;
constexpr std::uint64_t kPageSize = 4096;

volatile std::uint64_t& word_of(std::uint64_t page) {
    return *reinterpret_cast<volatile std::uint64_t*>(kFirst + page * kPageSize + page % 512 * 8);
}

}  // namespace

void count(std::uint64_t pages, std::uint64_t round) {
    for (std::uint64_t page = 0; page < pages; ++page) {
        CHECK(round == 0 || word_of(page) == page + round - 1);
        word_of(page) = page + round;
    }
}

void say_round(std::uint64_t round) {
    print("round ");
    print_hex(round);
    print("\n");
}

/// Counts in one page after the other, and checks what it counted a round ago. Says each round.
void test_dirty() {
    constexpr std::uint64_t kPages = 1024;
    count(kPages, 0);
    for (std::uint64_t round = 1;; ++round) {
        count(kPages, round);
        say_round(round);
    }
}

}  // namespace guest
