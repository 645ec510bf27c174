#include "devices/acpi/memory_hotplug.h"

#include <doctest/doctest.h>

#include <array>

#include "tests/unit/devices/line.h"
#include "tests/unit/devices/recorded_events.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::acpi_pm;

namespace {

struct Rig {
    test::Line line;
    test::RecordedEvents events;
    Device power{line.take(), events};
    MemoryHotplug memory{power, events, {}};

    std::uint32_t in(std::uint64_t offset) {
        std::array<std::byte, 4> data{};
        memory.read(offset, data);
        return static_cast<std::uint32_t>(load_le(data));
    }
    void out(std::uint64_t offset, std::uint32_t value) {
        std::array<std::byte, 4> data{};
        store_le(data, value);
        memory.write(offset, data);
    }
};

}  // namespace

TEST_CASE("a piece of memory tells where it is, comes, and goes when the guest lets go of it") {
    Rig rig;
    rig.memory.add({.address = 4 * GiB, .size = 256 * MiB});
    rig.memory.add({.address = 4 * GiB + 256 * MiB, .size = 128 * MiB});
    rig.memory.notify();
    std::array<std::byte, 1> event{};
    rig.power.read(kEvents, event);
    CHECK(load_le(event) == kEventMemory);
    const std::uint64_t second = kMemoryStride;
    CHECK(rig.in(second + kMemoryStatus) == (kUnitEnabled | kUnitInserted));
    CHECK(rig.in(second + kMemoryAddress) == 34);
    CHECK(rig.in(second + kMemorySize) == 1);
    CHECK(rig.in(kMemorySize) == 2);
    CHECK(rig.in(2 * kMemoryStride + kMemorySize) == 0);
    rig.out(second, kUnitInserted);
    rig.out(second, kUnitEject);
    CHECK(rig.events.memory_pieces_ejected.empty());
    rig.memory.ask_to_eject(1);
    CHECK(rig.in(second) == (kUnitEnabled | kUnitLeaving));
    rig.out(second, kUnitEject);
    CHECK(rig.events.memory_pieces_ejected == std::vector<unsigned>{1});
    CHECK(rig.in(second) == 0);
    rig.memory.drop_last();
    CHECK(rig.in(second + kMemorySize) == 0);
    CHECK(rig.memory.state().pieces.size() == 1);
}

TEST_CASE("a piece that the guest keeps is not asked for any more, and one that it gave up comes again") {
    Rig rig;
    rig.memory.add({.address = 4 * GiB, .size = 128 * MiB});
    rig.memory.add({.address = 4 * GiB + 128 * MiB, .size = 128 * MiB});
    CHECK_FALSE(rig.memory.plug_again(2));
    rig.memory.ask_to_eject(0);
    rig.memory.ask_to_eject(1);
    rig.out(0, kUnitLeaving | kUnitEject);
    rig.out(kMemoryStride, kMemoryKept);
    CHECK(rig.memory.state().units.asked == 0);
    CHECK(rig.in(kMemoryStride) == (kUnitEnabled | kUnitInserted));
    rig.out(kMemoryStride, kUnitEject);
    CHECK(rig.events.memory_pieces_ejected == std::vector<unsigned>{0});
    CHECK_FALSE(rig.memory.plug_again(0));
    CHECK(rig.memory.plug_again(2));
    CHECK(rig.in(0) == (kUnitEnabled | kUnitInserted));
}

TEST_CASE("a guest may write what it likes to the registers of memory") {
    Rig rig;
    rig.memory.add({.address = 4 * GiB, .size = 256 * MiB});
    const MemoryHotplugState before = rig.memory.state();
    for (std::uint64_t offset = 0; offset < kMemoryHotplugPorts + 16; ++offset) {
        for (const std::size_t size : {1UL, 2UL, 4UL, 8UL}) {
            if (size == 4 && offset == 0) continue;
            std::array<std::byte, 8> data{};
            data.fill(std::byte{0xff});
            rig.memory.write(offset, std::span(data).first(size));
            rig.memory.read(offset, std::span(data).first(size));
        }
    }
    CHECK(rig.events.memory_pieces_ejected.empty());
    CHECK(rig.memory.state() == before);
}
