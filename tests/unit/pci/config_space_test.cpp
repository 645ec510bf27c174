#include "devices/pci/config_space.h"

#include <doctest/doctest.h>

#include <vector>

#include "vmm/base/units.h"
#include "vmm/bus/bus.h"

using namespace hako;
using namespace hako::pci;

namespace {

constexpr Identity kIdentity{.vendor = 0x1af4,
                             .device = 0x1042,
                             .class_code = 0x018000,
                             .revision = 1,
                             .subsystem_vendor = 0x1af4,
                             .subsystem = 0x1100};

std::uint32_t get(const ConfigSpace& space, std::uint32_t offset, std::size_t length) {
    std::array<std::byte, 4> data{};
    space.read(offset, std::span(data).first(length));
    return static_cast<std::uint32_t>(load_le(std::span(data).first(length)));
}

void put(ConfigSpace& space, std::uint32_t offset, std::size_t length, std::uint32_t value) {
    std::array<std::byte, 4> data{};
    store_le(data, value);
    space.write(offset, std::span<const std::byte>(data).first(length));
}

}  // namespace

TEST_CASE("a function says what it is, at every width, and stays it") {
    ConfigSpace space(kIdentity);
    CHECK(get(space, reg::kVendorId, 4) == 0x10421af4);
    CHECK(get(space, reg::kDeviceId, 2) == 0x1042);
    CHECK(get(space, reg::kDeviceId + 1, 1) == 0x10);
    CHECK(get(space, reg::kRevision, 4) == 0x01800001);
    CHECK(get(space, reg::kSubsystemVendorId, 4) == 0x11001af4);
    CHECK(get(space, reg::kHeaderType, 1) == 0);
    CHECK(get(space, reg::kInterruptPin, 1) == 0);
    CHECK((get(space, reg::kStatus, 2) & 0x10) == 0);

    const ConfigSpace::State before = space.state();
    for (std::uint32_t offset = 0x40; offset < ConfigSpace::kSize; offset += 4)
        put(space, offset, 4, 0xffffffff);
    put(space, reg::kVendorId, 4, 0xffffffff);
    put(space, reg::kStatus, 2, 0xffff);
    put(space, reg::kRevision, 4, 0xffffffff);
    CHECK(space.state() == before);
}

TEST_CASE("accesses past the end read ones and write nothing") {
    ConfigSpace space(kIdentity);
    CHECK(get(space, ConfigSpace::kSize - 2, 4) == 0xffff0000);
    CHECK(get(space, ConfigSpace::kSize, 1) == 0xff);
    CHECK(get(space, UINT32_MAX, 4) == 0xffffffff);
    const ConfigSpace::State before = space.state();
    put(space, ConfigSpace::kSize - 1, 4, 0xffffffff);
    put(space, UINT32_MAX, 4, 0);
    CHECK(space.state() == before);
}

TEST_CASE("only the bits of the command register that mean something can be set") {
    ConfigSpace space(kIdentity);
    put(space, reg::kCommand, 2, 0xffff);
    CHECK(get(space, reg::kCommand, 2) == 0x0546);
    CHECK(space.memory_enabled());
    CHECK(space.bus_master());
    put(space, reg::kCommand, 1, 0x04);
    CHECK(get(space, reg::kCommand, 2) == 0x0504);
    CHECK_FALSE(space.memory_enabled());
}

TEST_CASE("writing ones to a BAR shows its size, writing an address sticks to its alignment") {
    ConfigSpace space(kIdentity);
    REQUIRE(space.add_bar(0, BarType::kMemory64, 32 * KiB));
    REQUIRE(space.add_bar(2, BarType::kMemory32, 4 * KiB));
    space.set_bar(0, 0x1000008000);
    CHECK(get(space, 0x10, 4) == 0x00008004);
    CHECK(get(space, 0x14, 4) == 0x10);

    put(space, 0x10, 4, 0xffffffff);
    put(space, 0x14, 4, 0xffffffff);
    CHECK(get(space, 0x10, 4) == 0xffff8004);
    CHECK(get(space, 0x14, 4) == 0xffffffff);
    put(space, 0x10, 4, 0x12345678);
    put(space, 0x14, 4, 0x7);
    CHECK(space.bar(0) == 0x712340000);

    put(space, 0x18, 4, 0xffffffff);
    CHECK(get(space, 0x18, 4) == 0xfffff000);
    put(space, 0x18, 4, 0xc0001234);
    CHECK(space.bar(2) == 0xc0001000);
    put(space, 0x1c, 4, 0xffffffff);  // no BAR here
    CHECK(get(space, 0x1c, 4) == 0);
}

TEST_CASE("a device's own register has the bits that it was given, and a place of its own") {
    ConfigSpace space(kIdentity);
    REQUIRE(space.add_register(0x60, 2, 0x8027));
    REQUIRE(space.add_register(0x68, 1, 7));
    put(space, 0x60, 4, 0xffffffff);
    put(space, 0x68, 4, 0xffffffff);
    CHECK(get(space, 0x60, 4) == 0x8027);
    CHECK(get(space, 0x68, 4) == 7);
    CHECK_FALSE(space.add_register(0x61, 2, 0xffff));
    CHECK_FALSE(space.add_register(0x3c, 1, 0xff));
    CHECK_FALSE(space.add_register(0x70, 0, 0));
    CHECK_FALSE(space.add_register(0x70, 5, 0));
    CHECK_FALSE(space.add_register(4095, 2, 0xffff));
}

TEST_CASE("a BAR of 4 GiB has no writable bit in its lower half") {
    ConfigSpace space(kIdentity);
    REQUIRE(space.add_bar(4, BarType::kMemory64, 8 * GiB));
    put(space, 0x20, 4, 0xffffffff);
    put(space, 0x24, 4, 0xffffffff);
    CHECK(get(space, 0x20, 4) == 0x4);
    CHECK(get(space, 0x24, 4) == 0xfffffffe);
}

TEST_CASE("BARs that overlap or have odd sizes are refused") {
    ConfigSpace space(kIdentity);
    REQUIRE(space.add_bar(1, BarType::kMemory64, 4 * KiB));
    CHECK_FALSE(space.add_bar(1, BarType::kMemory32, 4 * KiB));
    CHECK_FALSE(space.add_bar(2, BarType::kMemory32, 4 * KiB));
    CHECK_FALSE(space.add_bar(0, BarType::kMemory64, 4 * KiB));
    CHECK_FALSE(space.add_bar(5, BarType::kMemory64, 4 * KiB));
    CHECK_FALSE(space.add_bar(6, BarType::kMemory32, 4 * KiB));
    CHECK_FALSE(space.add_bar(0, BarType::kMemory32, 0));
    CHECK_FALSE(space.add_bar(0, BarType::kMemory32, 8));
    CHECK_FALSE(space.add_bar(0, BarType::kMemory32, 5000));
    CHECK_FALSE(space.add_bar(0, BarType::kMemory32, 4 * GiB));
    CHECK(space.add_bar(0, BarType::kMemory32, 16));
}

TEST_CASE("capabilities are chained, aligned and writable only where they say so") {
    ConfigSpace space(kIdentity);
    const std::vector<std::uint8_t> body = {1, 2, 3};
    const std::vector<std::uint8_t> writable = {0, 0xf0};
    const auto first = space.add_capability(capability::kVendor, body, writable);
    const auto second = space.add_capability(capability::kMsix, body);
    REQUIRE(first);
    REQUIRE(second);
    CHECK((get(space, reg::kStatus, 2) & 0x10) != 0);
    CHECK(get(space, reg::kCapabilities, 1) == *first);
    CHECK(get(space, *first, 2) == (std::uint32_t{*second} << 8 | capability::kVendor));
    CHECK(get(space, *second, 2) == capability::kMsix);
    CHECK(*second == 0x48);

    put(space, *first, 4, 0xffffffff);
    CHECK(get(space, *first, 4) == (0xf2010000U | std::uint32_t{*second} << 8 | capability::kVendor));
    put(space, *second, 4, 0);
    CHECK(get(space, *second, 4) == 0x02010011);
}

TEST_CASE("capabilities end where the 256-byte space does") {
    ConfigSpace space(kIdentity);
    const std::vector<std::uint8_t> body(94);
    CHECK(space.add_capability(capability::kVendor, body));
    CHECK(space.add_capability(capability::kVendor, body));
    CHECK_FALSE(space.add_capability(capability::kVendor, std::vector<std::uint8_t>{1}));
    CHECK_FALSE(space.add_capability(capability::kVendor, {}, std::vector<std::uint8_t>{1}));
}

TEST_CASE("a configuration space built again takes over what the guest wrote, and only from its like") {
    const auto build = [](std::uint16_t device) {
        Identity identity = kIdentity;
        identity.device = device;
        ConfigSpace space(identity);
        REQUIRE(space.add_bar(0, BarType::kMemory64, 32 * KiB));
        return space;
    };
    ConfigSpace space = build(0x1042);
    put(space, reg::kCommand, 2, command::kMemory);
    put(space, 0x14, 4, 0x11);
    put(space, reg::kInterruptLine, 1, 0xab);

    ConfigSpace again = build(0x1042);
    REQUIRE(again.restore(space.state()));
    CHECK(again.state() == space.state());
    CHECK(again.bar(0) == 0x1100000000);

    ConfigSpace other = build(0x1041);
    const auto refused = other.restore(space.state());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().fault() == Fault::kInput);
    CHECK(other.state() == build(0x1041).state());
}
