#include "devices/acpi/pci_hotplug.h"

#include <doctest/doctest.h>

#include <array>

#include "tests/unit/devices/line.h"
#include "tests/unit/devices/recorded_events.h"

using namespace hako;
using namespace hako::acpi_pm;

namespace {

struct Rig {
    test::Line line;
    test::RecordedEvents events;
    Device power{line.take(), events};
    PciHotplug hotplug{power, events};

    std::uint32_t in(std::uint64_t offset, PciHotplug* other = nullptr) {
        std::array<std::byte, 4> data{};
        (other == nullptr ? hotplug : *other).read(offset, data);
        return static_cast<std::uint32_t>(load_le(data));
    }
    void out(std::uint64_t offset, std::uint32_t value) {
        std::array<std::byte, 4> data{};
        store_le(data, value);
        hotplug.write(offset, data);
    }
    /// What the guest reads when the event device's interrupt comes.
    std::uint8_t event() {
        std::array<std::byte, 1> data{};
        power.read(kEvents, data);
        return static_cast<std::uint8_t>(load_le(data));
    }
};

}  // namespace

TEST_CASE("a function that comes is told once") {
    Rig rig;
    rig.hotplug.inserted(3);
    rig.hotplug.inserted(31);
    CHECK(rig.line.edges() == 2);
    CHECK(rig.event() == kEventPciSlots);
    CHECK(rig.in(kInserted) == (1U << 3 | 1U << 31));
    CHECK(rig.in(kInserted) == 0);
    CHECK(rig.in(kLeaving) == 0);
}

TEST_CASE("a guest ejects what it was asked to, once") {
    Rig rig;
    rig.hotplug.ask_to_eject(5);
    CHECK(rig.event() == kEventPciSlots);
    CHECK(rig.in(kLeaving) == 1U << 5);
    rig.out(kEject, 0xffffffff);
    CHECK(rig.events.ejected == std::vector<std::uint8_t>{5});
    rig.out(kEject, 1U << 5);
    CHECK(rig.events.ejected.size() == 1);
}

TEST_CASE("a guest that does not answer is asked again") {
    Rig rig;
    for (int i = 0; i < 3; ++i) {
        rig.hotplug.ask_to_eject(5);
        CHECK(rig.in(kLeaving) == 1U << 5);
    }
    CHECK(rig.events.ejected.empty());
    rig.out(kEject, 1U << 5);
    CHECK(rig.events.ejected.size() == 1);
}

TEST_CASE("an eject that nobody asked for is ignored") {
    Rig rig;
    rig.hotplug.inserted(4);
    rig.out(kEject, 1U << 4);
    CHECK(rig.events.ejected.empty());
    CHECK(rig.in(kInserted) == 1U << 4);
}

TEST_CASE("a new function is not ejected for what was asked of the one before") {
    Rig rig;
    rig.hotplug.ask_to_eject(4);
    rig.hotplug.inserted(4);
    CHECK(rig.in(kLeaving) == 0);
    rig.out(kEject, 1U << 4);
    CHECK(rig.events.ejected.empty());
}

TEST_CASE("a function that is gone makes the guest look at the bus") {
    Rig rig;
    rig.hotplug.inserted(4);
    rig.hotplug.ask_to_eject(4);
    CHECK(rig.event() == kEventPciSlots);
    rig.hotplug.gone(4);
    CHECK(rig.event() == kEventPciBus);
    CHECK(rig.hotplug.state() == PciHotplugState{});
}

TEST_CASE("an ejected slot says in which segment it is") {
    Rig rig;
    PciHotplug second(rig.power, rig.events, std::nullopt, 1);
    second.ask_to_eject(2);
    std::array<std::byte, 4> data{};
    store_le(data, 1U << 2);
    rig.hotplug.write(kEject, data);
    CHECK(rig.events.ejected.empty());
    second.write(kEject, data);
    CHECK(rig.events.ejected == std::vector<std::uint8_t>{2});
    CHECK(rig.events.last_segment == 1);
}

TEST_CASE("registers answer 32-bit accesses at their place only") {
    Rig rig;
    rig.hotplug.inserted(1);
    rig.hotplug.ask_to_eject(2);
    std::array<std::byte, 2> word{};
    rig.hotplug.read(kInserted, word);
    CHECK(load_le(word) == 0);
    std::array<std::byte, 8> both{};
    rig.hotplug.read(kInserted, both);
    CHECK(load_le(both) == 0);
    CHECK(rig.in(kEject) == 0);
    CHECK(rig.in(1) == 0);
    rig.out(kInserted, 0xffffffff);
    rig.out(kEject + 1, 0xffffffff);
    rig.hotplug.write(kEject, std::array{std::byte{4}});
    CHECK(rig.events.ejected.empty());
    CHECK(rig.in(kInserted) == 1U << 1);
    CHECK(rig.in(kLeaving) == 1U << 2);
}

TEST_CASE("news that the guest has not read yet are there after a restore") {
    Rig rig;
    rig.hotplug.inserted(6);
    rig.hotplug.ask_to_eject(7);
    const PciHotplugState saved = rig.hotplug.state();
    PciHotplug after(rig.power, rig.events, saved);
    CHECK(after.state() == saved);
    CHECK(rig.in(kInserted, &after) == 1U << 6);
    CHECK(rig.in(kLeaving, &after) == 1U << 7);
}
