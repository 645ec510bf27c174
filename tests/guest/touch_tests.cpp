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

}  // namespace

/// Commands on the serial port: p answers, r reads and w writes a word of each page of 128 MiB, f and a
/// letter fills memory up to as many times 64 MiB as the letter is in the alphabet. Each is answered by
/// itself and a newline.
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
            default:
                break;
        }
        print(answer);
    }
}

}  // namespace guest
