#include "devices/pci/host_bridge.h"

#include <doctest/doctest.h>

#include "devices/pci/segment.h"
#include "tests/unit/pci/pci_driver.h"
#include "tests/unit/pci/rig.h"

using namespace hako;
using namespace hako::pci;

namespace {

/// A function with one BAR of 4 KiB that answers with its own offsets.
class Probe final : public Function {
  public:
    explicit Probe(AddressSpace& space, std::uint64_t size = 4 * KiB,
                   std::optional<State> restored = std::nullopt)
        : Function(space, "probe", {.vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000},
                   std::move(restored)) {
        if (const auto done = add_bar(0, BarType::kMemory64, size); !done) {
            error = done.error().text();
            return;
        }
        if (const auto done = finish_config(); !done) error = done.error().text();
    }
    ~Probe() override { unmap_bars(); }

    [[nodiscard]] State state() const { return function_state(); }

    std::string error;
    std::uint64_t last_offset = 0;
    std::uint64_t last_value = 0;
    std::vector<std::uint64_t> places;  ///< where the BAR was mapped, 0 for each unmapping

  private:
    void read_bar(unsigned, std::uint64_t offset, std::span<std::byte> data) override {
        store_le(data, 0xa000 + offset);
    }
    void write_bar(unsigned, std::uint64_t offset, std::span<const std::byte> data) override {
        last_offset = offset;
        last_value = load_le(data);
    }
    void bar_mapped(unsigned, std::uint64_t address) override { places.push_back(address); }
    void bar_unmapped(unsigned, std::uint64_t) override { places.push_back(0); }
};

std::uint64_t legacy_read(test::PciRig& rig, Bdf bdf, std::uint16_t offset, std::size_t length) {
    const std::uint32_t address = 0x80000000 | std::uint32_t{bdf.bus} << 16 |
                                  std::uint32_t{bdf.device} << 11 | std::uint32_t{bdf.function} << 8;
    test::bus_write(rig.ports, 0xcf8, 4, address | (offset & 0xfcU));
    return test::bus_read(rig.ports, 0xcfc + (offset & 3U), length);
}

}  // namespace

TEST_CASE("a bus address has a text form and comes back from it") {
    CHECK(Bdf{0, 6, 0}.text() == "0000:00:06.0");
    CHECK(Bdf{255, 31, 7}.text() == "0000:ff:1f.7");
    CHECK(Bdf{0, 2, 0, 1}.text() == "0001:00:02.0");
    CHECK(Bdf::parse("0000:00:1f.7") == Bdf{0, 31, 7});
    CHECK(Bdf::parse("00a1:00:02.0") == Bdf{0, 2, 0, 0xa1});
    for (const char* bad : {"", "00:06.0", "0000:00:20.0", "0000:00:06.8", "000g:00:06.0", "0000:00:06.0 ",
                            "0000:0g:06.0", "0000-00:06.0", "0000:00:06,0", "0000:00:0x.0"})
        CHECK_FALSE_MESSAGE(Bdf::parse(bad), bad);
}

TEST_CASE("the bridge answers in slot 0 and empty slots read as ones") {
    test::PciRig rig;
    test::PciDriver bridge(rig.mmio, {0, 0, 0});
    CHECK(bridge.config(reg::kVendorId, 4) == 0x00081b36);
    CHECK(bridge.config(reg::kRevision, 4) == 0x06000000);
    CHECK(bridge.config(reg::kHeaderType, 1) == 0);
    for (const Bdf absent : {Bdf{0, 0, 1}, Bdf{0, 0, 7}, Bdf{0, 1, 0}, Bdf{0, 31, 7}}) {
        test::PciDriver nobody(rig.mmio, absent);
        CHECK(nobody.config(0, 4) == 0xffffffff);
        CHECK(nobody.config(0x3ff, 1) == 0xff);
        nobody.set_config(4, 2, 0xffff);
        CHECK(legacy_read(rig, absent, 0, 4) == 0xffffffff);
    }
    CHECK(legacy_read(rig, {1, 0, 0}, 0, 4) == 0xffffffff);
}

TEST_CASE("CF8/CFC and ECAM show the same configuration space") {
    test::PciRig rig;
    Probe probe(rig.space);
    REQUIRE(probe.error.empty());
    const Bdf bdf = rig.bridge->add(probe).value();
    test::PciDriver driver(rig.mmio, bdf);
    for (std::uint16_t offset = 0; offset < 0x100; ++offset) {
        for (const std::size_t length : {1U, 2U, 4U}) {
            if (offset % 4 + length > 4) continue;
            CHECK(legacy_read(rig, bdf, offset, length) == driver.config(offset, length));
        }
    }
    legacy_read(rig, bdf, reg::kInterruptLine, 1);
    test::bus_write(rig.ports, 0xcfc, 1, 0x5a);
    CHECK(driver.config(reg::kInterruptLine, 1) == 0x5a);
    driver.set_config(reg::kInterruptLine, 1, 0xa5);
    CHECK(legacy_read(rig, bdf, reg::kInterruptLine, 1) == 0xa5);
    // A quadword through ECAM is two dwords.
    CHECK(test::bus_read(rig.mmio, driver.config_address(0), 8) ==
          (driver.config(0, 4) | std::uint64_t{driver.config(4, 4)} << 32));
    // Crossing the function's end does not reach the next one.
    CHECK((driver.config(0xffe, 4) & 0xffff0000) == 0xffff0000);
    REQUIRE(rig.bridge->remove(bdf));
}

TEST_CASE("the address port takes dwords only, and reads back without reserved bits") {
    test::PciRig rig;
    test::bus_write(rig.ports, 0xcf8, 4, 0xffffffff);
    CHECK(test::bus_read(rig.ports, 0xcf8, 4) == 0x80fffffc);
    test::bus_write(rig.ports, 0xcfb, 1, 0x01);
    test::bus_write(rig.ports, 0xcf8, 2, 0);
    CHECK(test::bus_read(rig.ports, 0xcf8, 4) == 0x80fffffc);
    CHECK(test::bus_read(rig.ports, 0xcf9, 1) == 0xff);
    CHECK(test::bus_read(rig.ports, 0xcfa, 4) == 0xffffffff);

    test::bus_write(rig.ports, 0xcf8, 4, 0);  // not enabled
    CHECK(test::bus_read(rig.ports, 0xcfc, 4) == 0xffffffff);
    test::bus_write(rig.ports, 0xcfc, 4, 0xffffffff);
    test::bus_write(rig.ports, 0xcf8, 4, 0x80000000);
    CHECK(test::bus_read(rig.ports, 0xcfc, 4) == 0x00081b36);
    CHECK(test::bus_read(rig.ports, 0xcff, 2) == 0xffff);
}

TEST_CASE("functions go into the slot asked for or the lowest free one") {
    test::PciRig rig;
    std::vector<std::unique_ptr<Probe>> probes;
    const auto add = [&](std::optional<std::uint8_t> slot) {
        probes.push_back(std::make_unique<Probe>(rig.space));
        return rig.bridge->add(*probes.back(), slot);
    };
    CHECK(add(2) == Bdf{0, 2, 0});
    CHECK(add({}) == Bdf{0, 1, 0});
    CHECK(add({}) == Bdf{0, 3, 0});
    for (const int bad : {0, 2, 32, 255}) {
        const auto refused = add(static_cast<std::uint8_t>(bad));
        REQUIRE_FALSE(refused);
        CHECK(refused.error().fault() == Fault::kInput);
    }
    CHECK(rig.bridge->find({0, 2, 0}) == probes[0].get());
    for (int i = 4; i < 32; ++i)
        CHECK(add({}));
    CHECK_FALSE(add({}));

    CHECK(rig.bridge->remove({0, 2, 0}));
    CHECK_FALSE(rig.bridge->remove({0, 2, 0}));
    CHECK_FALSE(rig.bridge->remove({0, 0, 0}));
    CHECK_FALSE(rig.bridge->remove({0, 3, 1}));
    CHECK_FALSE(rig.bridge->remove({1, 3, 0}));
    CHECK(rig.bridge->find({0, 2, 0}) == nullptr);
    CHECK(test::PciDriver(rig.mmio, {0, 2, 0}).config(0, 4) == 0xffffffff);
    CHECK(add({}) == Bdf{0, 2, 0});
    for (std::uint8_t slot = 1; slot < 32; ++slot)
        REQUIRE(rig.bridge->remove({0, slot, 0}));
}

TEST_CASE("a BAR answers while memory decoding is on, wherever in the windows the guest puts it") {
    test::PciRig rig;
    Probe probe(rig.space);
    const Bdf bdf = rig.bridge->add(probe).value();
    test::PciDriver driver(rig.mmio, bdf);
    const std::uint64_t home = driver.bar(0);
    CHECK(home == 64 * GiB);
    CHECK(test::bus_read(rig.mmio, home + 0x10, 4) == 0xffffffff);

    driver.enable();
    CHECK(probe.mapped_at(0) == home);
    CHECK(test::bus_read(rig.mmio, home + 0x10, 4) == 0xa010);
    test::bus_write(rig.mmio, home + 0x20, 2, 0x1234);
    CHECK(probe.last_offset == 0x20);
    CHECK(probe.last_value == 0x1234);

    driver.set_command(0);
    CHECK(test::bus_read(rig.mmio, home, 4) == 0xffffffff);
    driver.set_bar64(0, layout::kMmio32 + 0x5000);
    CHECK_FALSE(probe.mapped_at(0));
    driver.enable();
    CHECK(test::bus_read(rig.mmio, layout::kMmio32 + 0x5008, 4) == 0xa008);

    // Moved while decoded, in two halves: the place between the halves is no window.
    driver.set_bar64(0, home + 0x7000);
    CHECK(probe.mapped_at(0) == home + 0x7000);
    CHECK(test::bus_read(rig.mmio, layout::kMmio32 + 0x5008, 4) == 0xffffffff);
    CHECK(probe.places.back() == home + 0x7000);
    REQUIRE(rig.bridge->remove(bdf));
}

TEST_CASE("a BAR over RAM, ECAM, the APICs or another device stays unmapped and comes back") {
    test::PciRig rig;
    Probe first(rig.space);
    Probe second(rig.space);
    const Bdf bdf = rig.bridge->add(first).value();
    const Bdf other = rig.bridge->add(second).value();
    test::PciDriver driver(rig.mmio, bdf);
    test::PciDriver neighbour(rig.mmio, other);
    driver.enable();
    neighbour.enable();
    const std::uint64_t home = driver.bar(0);

    for (const std::uint64_t bad : {std::uint64_t{0}, std::uint64_t{0x100000}, layout::kEcam, layout::kIoApic,
                                    layout::kLocalApic, layout::kMmio32End, std::uint64_t{8 * GiB}, 128 * GiB,
                                    UINT64_MAX & ~std::uint64_t{0xfff}, neighbour.bar(0)}) {
        driver.set_bar64(0, bad);
        CHECK_FALSE(first.mapped_at(0));
        CHECK(driver.bar(0) == bad);
    }
    CHECK(test::bus_read(rig.mmio, neighbour.bar(0) + 4, 4) == 0xa004);
    CHECK(driver.config(reg::kVendorId, 2) == 0x1234);
    driver.set_bar64(0, home);
    CHECK(first.mapped_at(0) == home);
    REQUIRE(rig.bridge->remove(bdf));
    REQUIRE(rig.bridge->remove(other));
}

TEST_CASE("a removed function takes its BAR off the bus and gives its address back") {
    test::PciRig rig;
    auto probe = std::make_unique<Probe>(rig.space);
    const Bdf bdf = rig.bridge->add(*probe).value();
    test::PciDriver driver(rig.mmio, bdf);
    driver.enable();
    const std::uint64_t home = driver.bar(0);
    REQUIRE(rig.bridge->remove(bdf));
    probe.reset();
    CHECK(test::bus_read(rig.mmio, home, 4) == 0xffffffff);
    const Probe next(rig.space);
    CHECK(next.error.empty());
    CHECK(next.state().bar_homes[0] == home);
}

TEST_CASE("a BAR that does not fit is an error when the function is made") {
    test::PciRig rig;
    const Probe probe(rig.space, 128 * GiB);
    CHECK(probe.error.find("no PCI address space left") != std::string::npos);
}

TEST_CASE("a function built from its state stands where it stood, its home included") {
    Function::State saved;
    std::uint64_t place = 0;
    {
        test::PciRig rig;
        const Probe before(rig.space);
        Probe probe(rig.space);
        const Bdf bdf = rig.bridge->add(probe).value();
        test::PciDriver driver(rig.mmio, bdf);
        driver.enable();
        place = layout::kMmio32 + 0x3000;
        driver.set_bar64(0, place);
        saved = probe.state();
        REQUIRE(rig.bridge->remove(bdf));
    }
    test::PciRig rig;
    const Probe probe(rig.space, 4 * KiB, saved);
    REQUIRE(probe.error.empty());
    CHECK(probe.state() == saved);
    CHECK(probe.mapped_at(0) == place);
    CHECK(test::bus_read(rig.mmio, place + 4, 4) == 0xa004);
    const Probe twin(rig.space, 4 * KiB, saved);
    CHECK(twin.error.find("already belongs") != std::string::npos);
}

TEST_CASE("the bridge built from its state is the same bridge") {
    HostBridge::State saved;
    {
        test::PciRig rig;
        test::bus_write(rig.ports, 0xcf8, 4, 0x80001234);
        test::PciDriver(rig.mmio, {0, 0, 0}).set_config(reg::kInterruptLine, 1, 0x77);
        saved = rig.bridge->state();
    }
    const test::PciRig rig(saved);
    CHECK(rig.bridge->state() == saved);
    CHECK(saved.config_address == 0x80001234);
}

TEST_CASE("a second segment has its own bus, addresses and nothing at the old ports") {
    constexpr GuestAddress kRamEnd{2 * MiB};
    Bus mmio;
    Bus ports;
    const auto first = Segment::create(mmio, ports, kRamEnd, 0, 2).value();
    HostBridge::State saved;
    {
        const auto second = Segment::create(mmio, ports, kRamEnd, 1, 2).value();
        Probe one(first->space, 4 * KiB);
        Probe two(second->space, 4 * KiB);
        CHECK(first->bridge->add(one) == Bdf{0, 1, 0, 0});
        CHECK(second->bridge->add(two) == Bdf{0, 1, 0, 1});
        CHECK(second->bridge->find({0, 1, 0, 1}) == &two);
        CHECK(second->bridge->find({0, 1, 0, 0}) == nullptr);
        CHECK_FALSE(second->bridge->remove({0, 1, 0, 0}));
        test::PciDriver far(mmio, {0, 1, 0, 1});
        far.enable();
        CHECK(far.bar(0) == first->space.windows().high.base + first->space.windows().high.size);
        CHECK(second->space.decodes(far.bar(0), 4 * KiB));
        CHECK_FALSE(first->space.decodes(far.bar(0), 4 * KiB));
        CHECK(test::PciDriver(mmio, {0, 1, 0, 0}).bar(0) == first->space.windows().high.base);
        test::PciDriver(mmio, {0, 0, 0, 1}).set_config(reg::kInterruptLine, 1, 0x77);
        CHECK(test::PciDriver(mmio, {0, 0, 0, 0}).config(reg::kInterruptLine, 1) == 0);
        saved = second->bridge->state();
        CHECK(first->bridge->remove({0, 1, 0, 0}));
        CHECK(second->bridge->remove({0, 1, 0, 1}));
    }
    CHECK(test::bus_read(mmio, layout::kEcam + layout::kEcamSize, 4) == 0xffffffff);
    const auto again = Segment::create(mmio, ports, kRamEnd, 1, 2, saved).value();
    CHECK(again->bridge->state() == saved);
    CHECK(test::PciDriver(mmio, {0, 0, 0, 1}).config(reg::kInterruptLine, 1) == 0x77);
}

TEST_CASE("a bridge that goes away leaves the buses free") {
    test::PciRig rig;
    CHECK_FALSE(HostBridge::create(rig.space, rig.ports));
    rig.bridge.reset();
    CHECK(HostBridge::create(rig.space, rig.ports));
    CHECK(test::bus_read(rig.mmio, layout::kEcam, 4) == 0xffffffff);
}
