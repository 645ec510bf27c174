// A guest that touches memory when it is told to: for benchmarks of restored machines.
#include "tests.h"

namespace guest {
namespace {

constexpr std::uint16_t kSerial = 0x3f8;
constexpr std::uint64_t kFirst = 16 << 20;
constexpr std::uint64_t kPageSize = 4096;
constexpr std::uint64_t kTouched = std::uint64_t{128} << 20;
constexpr std::uint64_t kPages = kTouched / kPageSize;

char read_char() {
    while ((in8(kSerial + 5) & 1) == 0) {
    }
    return static_cast<char>(in8(kSerial));
}

volatile std::uint64_t& word_at(std::uint64_t address) {
    return *reinterpret_cast<volatile std::uint64_t*>(address);
}

/// Every page of [kFirst, end) has a word of its own.
void fill(std::uint64_t end) {
    for (std::uint64_t at = kFirst; at < end; at += kPageSize)
        word_at(at) = at;
}

/// Hexadecimal digits, small letters, and one character behind them.
std::uint64_t read_hex() {
    std::uint64_t value = 0;
    for (;;) {
        const char digit = read_char();
        if (digit >= '0' && digit <= '9')
            value = value << 4 | static_cast<std::uint64_t>(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            value = value << 4 | static_cast<std::uint64_t>(digit - 'a' + 10);
        else
            return value;
    }
}

/// Writes `pages` of `set` pages, checks what it wrote there before, says so, and waits until `ticks` of the
/// TSC are over (0: not at all); again and again, until there is something to read.
void beat(std::uint64_t ticks, std::uint64_t pages, std::uint64_t set) {
    for (std::uint64_t page = 0; page < set; ++page)
        word_at(kFirst + page * kPageSize) = page;
    std::uint64_t page = 0;
    std::uint64_t turn = 0;
    std::uint64_t next = tsc();
    while ((in8(kSerial + 5) & 1) == 0) {
        for (std::uint64_t i = 0; i < pages; ++i) {
            volatile std::uint64_t& word = word_at(kFirst + page * kPageSize);
            CHECK(word == page + turn);
            word = page + turn + 1;
            if (++page == set) {
                page = 0;
                ++turn;
            }
        }
        out8(kSerial, '.');
        next += ticks;
        const std::uint64_t now = tsc();
        // Late by more than one: what was missed is not made up for.
        if (next + ticks < now) next = now;
        while (tsc() < next)
            asm volatile("pause");
    }
}

}  // namespace

/// Commands on the serial port: p answers, r reads and w writes a word of each page of 128 MiB, f and a
/// letter fills memory up to as many times 64 MiB as the letter is in the alphabet, t tells the TSC, and b
/// with three numbers beats until the next character. Each is answered by itself and a newline.
void test_touch() {
    fill(kFirst + kTouched);
    print("ready\n");
    for (;;) {
        char answer[] = {read_char(), '\n', 0};
        switch (answer[0]) {
            case 'r':
                // All over the place, as programs do; an odd factor comes to each page once.
                for (std::uint64_t page = 0; page < kPages; ++page) {
                    const std::uint64_t at = kFirst + page * 12289 % kPages * kPageSize;
                    CHECK(word_at(at) == at);
                }
                break;
            case 'w':
                fill(kFirst + kTouched);
                break;
            case 'f':
                fill(std::uint64_t{static_cast<unsigned char>(read_char() - '@')} << 26);
                break;
            case 't':
                print_hex(tsc());
                break;
            case 'b': {
                const std::uint64_t ticks = read_hex();
                const std::uint64_t pages = read_hex();
                beat(ticks, pages, read_hex());
                read_char();
                break;
            }
            default:
                break;
        }
        print(answer);
    }
}

}  // namespace guest
