#include "devices/acpi/cpu_hotplug.h"

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
    CpuHotplug cpus{power, events, {.enabled = 1}};

    std::uint32_t in(std::uint64_t offset) {
        std::array<std::byte, 4> data{};
        cpus.read(offset, data);
        return static_cast<std::uint32_t>(load_le(data));
    }
    void out(std::uint64_t offset, std::uint32_t value) {
        std::array<std::byte, 4> data{};
        store_le(data, value);
        cpus.write(offset, data);
    }
    std::uint32_t status(std::uint32_t cpu) { return in(cpu * kCpuStride); }
};

}  // namespace

TEST_CASE("a CPU that comes is there, and news until the guest says that it knows") {
    Rig rig;
    CHECK(rig.status(0) == kUnitEnabled);
    CHECK(rig.status(3) == 0);
    rig.cpus.plug(3);
    rig.cpus.notify();
    CHECK(rig.line.edges() == 1);
    std::array<std::byte, 1> event{};
    rig.power.read(kEvents, event);
    CHECK(load_le(event) == kEventCpus);
    CHECK(rig.status(3) == (kUnitEnabled | kUnitInserted));
    CHECK(rig.status(3) == (kUnitEnabled | kUnitInserted));
    rig.out(3 * kCpuStride, kUnitInserted);
    CHECK(rig.status(3) == kUnitEnabled);
    CHECK(rig.status(63) == 0);
    rig.cpus.take_back(3);
    CHECK(rig.status(3) == 0);
}

TEST_CASE("a guest ejects a CPU that it was asked for, once") {
    Rig rig;
    rig.cpus.plug(63);
    rig.cpus.ask_to_eject(63);
    CHECK(rig.status(63) == (kUnitEnabled | kUnitInserted | kUnitLeaving));
    rig.out(63 * kCpuStride, kUnitLeaving | kUnitInserted);
    CHECK(rig.status(63) == kUnitEnabled);
    rig.out(63 * kCpuStride, kUnitEject);
    CHECK(rig.events.cpus_ejected == std::vector<std::uint32_t>{63});
    CHECK(rig.status(63) == 0);
    rig.out(63 * kCpuStride, kUnitEject);
    CHECK(rig.events.cpus_ejected.size() == 1);
    // One that comes in its place was not asked for.
    rig.cpus.plug(63);
    rig.out(63 * kCpuStride, kUnitEject);
    CHECK(rig.events.cpus_ejected.size() == 1);
    CHECK((rig.status(63) & kUnitEnabled) != 0);
}

TEST_CASE("a guest may write what it likes where it likes") {
    Rig rig;
    rig.cpus.plug(1);
    const HotplugUnitsState before = rig.cpus.state();
    for (std::uint64_t offset = 0; offset < kCpuHotplugPorts + 8; ++offset) {
        for (const std::size_t size : {1UL, 2UL, 4UL, 8UL}) {
            if (size == 4 && offset == kCpuStride) continue;
            std::array<std::byte, 8> data{};
            data.fill(std::byte{0xff});
            rig.cpus.write(offset, std::span(data).first(size));
            rig.cpus.read(offset, std::span(data).first(size));
            if (size != 4) CHECK(load_le(std::span(data).first(size)) == 0);
        }
    }
    CHECK(rig.events.cpus_ejected.empty());
    CHECK(rig.cpus.state() == before);
}

TEST_CASE("what is not there cannot be asked to go, and a state goes on") {
    Rig rig;
    rig.cpus.ask_to_eject(5);
    CHECK(rig.status(5) == 0);
    rig.cpus.plug(2);
    rig.cpus.ask_to_eject(2);
    Rig other;
    CpuHotplug next(other.power, other.events, rig.cpus.state());
    std::array<std::byte, 4> data{};
    store_le(data, kUnitEject);
    next.write(2 * kCpuStride, data);
    CHECK(other.events.cpus_ejected == std::vector<std::uint32_t>{2});
}
