#include "balloon.h"

#include "tests.h"

namespace guest {
namespace {

constexpr std::uint64_t kArea = 32 << 20;
constexpr std::uint64_t kPageSize = 4096;

alignas(4096) Rings rings;
std::uint32_t numbers[Balloon::kMost];

volatile std::uint64_t& word_of(std::uint32_t number) {
    return *reinterpret_cast<volatile std::uint64_t*>(kArea + std::uint64_t{number} * kPageSize);
}

}  // namespace

Balloon::Balloon(int slot) : device_(static_cast<std::uint8_t>(slot)) {
    device_.negotiate(kVersion1);
    device_.set_up(rings, kQueueInterrupt, kConfigInterrupt);
    device_.driver_ok();
}

/// The next `count` pages.
void Balloon::give(std::uint32_t count) {
    for (std::uint32_t index = 0; index < count; ++index) {
        word_of(actual_ + index) = 0x1234'5678 + actual_ + index;
        numbers[index] = static_cast<std::uint32_t>(kArea / kPageSize) + actual_ + index;
    }
    rings.descriptors[0] = {reinterpret_cast<std::uint64_t>(&numbers), 4 * count, 0, 0};
    device_.carry_out(rings);
}

void Balloon::resize(std::uint32_t wanted) {
    CHECK(wanted <= kMost);
    if (wanted > actual_) give(wanted - actual_);
    const std::uint32_t first = wanted < actual_ ? wanted : actual_;
    const std::uint32_t end = wanted < actual_ ? actual_ : wanted;
    for (std::uint32_t number = first; number < end; ++number)
        if (word_of(number) != 0) fail("a page that was given back has content", __FILE__, __LINE__);
    actual_ = wanted;
    mmio_write<std::uint32_t>(device_.device_config() + 4, actual_);
}

}  // namespace guest
