// A guest that ends as it is told to, whatever goes on then.
#include "tests.h"

namespace guest {
namespace {

constexpr std::uint16_t kSerial = 0x3f8;
/// So that it looks at the serial port often.
constexpr std::uint64_t kPages = 64;

void obey(char order) {
    if (order == 'o') power_off();
    if (order == 'r') test_reset();
    if (order == 'p') test_panic();
    if (order == 't') test_triple_fault();
}

}  // namespace

/// Says that it is ready, counts in memory, and powers off, reboots, panics or triple-faults when "o", "r",
/// "p" or "t" comes by the serial port.
void test_obey() {
    print("ready\n");
    count(kPages, 0);
    for (std::uint64_t round = 1;; ++round) {
        count(kPages, round);
        if ((in8(kSerial + 5) & 1) != 0) obey(static_cast<char>(in8(kSerial)));
    }
}

}  // namespace guest
