#include "vmm/bus/bus.h"

#include <doctest/doctest.h>

#include <array>

using namespace hako;

namespace {

class Recorder final : public BusDevice {
  public:
    void read(std::uint64_t offset, std::span<std::byte> data) override { store_le(data, 0x1000 + offset); }
    void write(std::uint64_t offset, std::span<const std::byte> data) override {
        last_offset = offset;
        last_value = load_le(data);
    }
    std::uint64_t last_offset = 0;
    std::uint64_t last_value = 0;
};

}  // namespace

TEST_CASE("an access reaches the device whose range holds all of it") {
    Bus bus;
    Recorder first;
    Recorder second;
    REQUIRE(bus.insert(0x100, 0x10, first, "first"));
    REQUIRE(bus.insert(0x110, 0x8, second, "second"));

    std::array<std::byte, 4> data{};
    CHECK(bus.read(0x104, data));
    CHECK(load_le(data) == 0x1004);
    store_le(data, 0xabcd);
    CHECK(bus.write(0x114, data));
    CHECK(second.last_offset == 4);
    CHECK(second.last_value == 0xabcd);

    CHECK_FALSE(bus.write(0x10e, data));  // straddles two devices
    CHECK_FALSE(bus.read(0xff, data));
    CHECK(load_le(data) == 0xffffffff);
    CHECK_FALSE(bus.read(0x118, data));
    CHECK_FALSE(bus.read(UINT64_MAX, data));
}

TEST_CASE("ranges do not overlap, wrap or stand empty") {
    Bus bus;
    Recorder device;
    REQUIRE(bus.insert(0x100, 0x10, device, "first"));
    CHECK_FALSE(bus.insert(0xf8, 0x9, device, "tail"));
    CHECK_FALSE(bus.insert(0x10f, 1, device, "inside"));
    CHECK_FALSE(bus.insert(0x80, 0x1000, device, "around"));
    CHECK_FALSE(bus.insert(0x200, 0, device, "empty"));
    CHECK_FALSE(bus.insert(UINT64_MAX, 2, device, "wrap"));
    CHECK(bus.insert(0xf0, 0x10, device, "before"));
    CHECK(bus.remove(0x100));
    CHECK_FALSE(bus.remove(0x100));
    CHECK(bus.insert(0x108, 1, device, "again"));
}

TEST_CASE("in the quiet range nobody's answer is zeros") {
    Bus bus;
    Recorder device;
    bus.set_quiet(0x1000, 0x100);
    REQUIRE(bus.insert(0x1010, 0x10, device, "somebody"));
    std::array<std::byte, 4> data{};
    for (const auto& [address, value] :
         {std::pair{0x1000U, 0U}, {0x10fcU, 0U}, {0xffcU, ~0U}, {0x1100U, ~0U}}) {
        data.fill(std::byte{0x55});
        CHECK_FALSE(bus.read(address, data));
        CHECK(load_le(data) == value);
    }
    CHECK(bus.read(0x1010, data));
}
