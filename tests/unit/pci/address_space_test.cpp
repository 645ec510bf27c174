#include "devices/pci/address_space.h"

#include <doctest/doctest.h>

#include <array>

#include "vmm/base/units.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::pci;

namespace {

constexpr Windows kWindows{.low = {.base = 0xc0000000, .size = 0x10000},
                           .high = {.base = 64 * GiB, .size = 1 * GiB}};

}  // namespace

TEST_CASE("the 64-bit window lies above RAM, on a GiB") {
    CHECK(windows_above(GuestAddress{512 * MiB}).high.base == layout::kMmio64Min);
    CHECK(windows_above(GuestAddress{100 * GiB + MiB}).high.base == 101 * GiB);
    const Window low = windows_above(GuestAddress{512 * MiB}).low;
    CHECK(low.base == layout::kMmio32);
    CHECK(low.base + low.size == layout::kMmio32End);
}

TEST_CASE("the windows of segments lie one behind the other, inside those of one") {
    const GuestAddress end{100 * GiB};
    const Windows whole = windows_above(end);
    for (const auto count : std::array<std::uint16_t, 4>{1, 2, 3, 16}) {
        Window low{.base = whole.low.base};
        Window high{.base = whole.high.base};
        for (std::uint16_t segment = 0; segment < count; ++segment) {
            const Windows windows = windows_above(end, segment, count);
            CHECK(windows.low.base == low.base + low.size);
            CHECK(windows.high.base == high.base + high.size);
            CHECK(windows.low.size >= 40 * MiB);
            CHECK(windows.high.size >= 4 * GiB);
            low = windows.low;
            high = windows.high;
        }
        CHECK(low.base + low.size <= whole.low.base + whole.low.size);
        CHECK(high.base + high.size <= whole.high.base + whole.high.size);
    }
    CHECK(windows_above(end, 0, 1) == whole);
}

TEST_CASE("addresses are aligned, apart from each other, and come back when released") {
    Bus mmio;
    AddressSpace space(mmio, kWindows);
    CHECK(space.allocate(BarType::kMemory32, 0x1000) == 0xc0000000);
    CHECK(space.allocate(BarType::kMemory32, 0x4000) == 0xc0004000);
    CHECK(space.allocate(BarType::kMemory32, 0x2000) == 0xc0002000);
    CHECK(space.allocate(BarType::kMemory32, 0x8000) == 0xc0008000);
    CHECK(space.allocate(BarType::kMemory32, 0x1000) == 0xc0001000);
    CHECK_FALSE(space.allocate(BarType::kMemory32, 0x1000));
    CHECK(space.allocate(BarType::kMemory64, 0x8000) == 64 * GiB);
    space.release(0xc0004000);
    CHECK(space.allocate(BarType::kMemory32, 0x1000) == 0xc0004000);
    CHECK_FALSE(space.allocate(BarType::kMemory32, 0x1001));
    CHECK_FALSE(space.allocate(BarType::kMemory64, 2 * GiB));
}

TEST_CASE("a restored device gets its old address or an error") {
    Bus mmio;
    AddressSpace space(mmio, kWindows);
    REQUIRE(space.reserve(0xc0004000, 0x4000));
    CHECK_FALSE(space.reserve(0xc0004000, 0x4000));
    CHECK_FALSE(space.reserve(0xc0006000, 0x1000));
    CHECK_FALSE(space.reserve(0xc0000000, 0x8000));
    CHECK_FALSE(space.reserve(0xc0002000, 0x4000));  // not aligned
    CHECK_FALSE(space.reserve(0, 0x1000));
    CHECK_FALSE(space.reserve(0xc0000000, 0));
    CHECK_FALSE(space.reserve(UINT64_MAX & ~std::uint64_t{0xfff}, 0x1000));
    CHECK(space.reserve(0xc0008000, 0x1000));
    CHECK(space.allocate(BarType::kMemory32, 0x4000) == 0xc0000000);
    CHECK(space.allocate(BarType::kMemory32, 0x4000) == 0xc000c000);
}

TEST_CASE("only the windows are decoded, whatever the arithmetic") {
    Bus mmio;
    const AddressSpace space(mmio, kWindows);
    CHECK(space.decodes(0xc0000000, 0x10000));
    CHECK_FALSE(space.decodes(0xc0000000, 0x10001));
    CHECK_FALSE(space.decodes(0xc000f000, 0x2000));
    CHECK_FALSE(space.decodes(0xbffff000, 0x1000));
    CHECK_FALSE(space.decodes(0, 0x1000));
    CHECK_FALSE(space.decodes(UINT64_MAX - 0xfff, 0x1000));
    CHECK_FALSE(space.decodes(layout::kEcam, 0x1000));
    CHECK(space.decodes(64 * GiB + 0x8000, 0x8000));
}
