#include <doctest/doctest.h>

#include "devices/acpi/device.h"
#include "devices/acpi/pci_hotplug.h"
#include "tests/unit/devices/line.h"
#include "tests/unit/devices/ports.h"
#include "tests/unit/devices/recorded_events.h"
#include "vmm/boot/acpi/tables.h"

using namespace hako;
using test::in;
using test::out;

// What the ACPI tables tell the guest is what the device does.
static_assert(acpi_pm::kSleepTypeS5 == acpi::kSleepTypeS5);
static_assert(acpi_pm::kResetValue == acpi::kResetValue);
static_assert(acpi_pm::kEventPowerButton == acpi::kEventPowerButton);
static_assert(acpi_pm::kEventPciSlots == acpi::kEventPciSlots);
static_assert(acpi_pm::kEventPciBus == acpi::kEventPciBus);
static_assert(acpi_pm::kEventGeneration == acpi::kEventGeneration);

TEST_CASE("only S5 with SLP_EN powers off") {
    test::Line line;
    test::RecordedEvents events;
    acpi_pm::Device device(line.take(), events);
    for (const unsigned value : {0x00U, 0x14U, 0x20U, 0x30U, 0x3cU, 0x2cU})
        out(device, 0, value);
    CHECK(events.power_offs == 0);
    out(device, 0, 0x34);
    CHECK(events.power_offs == 1);
    CHECK(in(device, 0) == 0);
    CHECK(events.resets == 0);
}

TEST_CASE("the reset register takes its one value") {
    test::Line line;
    test::RecordedEvents events;
    acpi_pm::Device device(line.take(), events);
    out(device, 2, 0);
    out(device, 2, 6);
    CHECK(events.resets == 0);
    out(device, 2, 1);
    CHECK(events.resets == 1);
    CHECK(in(device, 2) == 0);
    CHECK(events.power_offs == 0);
}

TEST_CASE("the power button sets its bit and pulses the line; reading clears the bit") {
    test::Line line;
    test::RecordedEvents events;
    acpi_pm::Device device(line.take(), events);
    CHECK(in(device, 3) == 0);
    device.press_power_button();
    CHECK(line.edges() == 1);
    CHECK(in(device, 1) == 0);
    CHECK(in(device, 3) == 1);
    CHECK(in(device, 3) == 0);
    out(device, 3, 0xff);
    CHECK(in(device, 3) == 0);
}

TEST_CASE("a button pressed before a save is there after the restore") {
    test::Line line;
    test::RecordedEvents events;
    acpi_pm::Device before(line.take(), events);
    before.press_power_button();
    const acpi_pm::State saved = before.state();

    test::Line other;
    acpi_pm::Device after(other.take(), events, saved);
    CHECK(after.state() == saved);
    CHECK(in(after, 3) == 1);
    CHECK(after.state() != saved);

    // An edge that the save has lost comes again, for what waits.
    after.repeat_edge();
    CHECK(other.edges() == 0);
    after.press_power_button();
    CHECK(other.edges() == 1);
    after.repeat_edge();
    CHECK(other.edges() == 1);

    test::Line third;
    const acpi_pm::Device wild(third.take(), events, acpi_pm::State{.sleep_status = 0xff, .events = 0xff});
    CHECK(wild.state() == acpi_pm::State{.sleep_status = 0x80, .events = 0x3f});
}

TEST_CASE("the wake status is cleared by writing one") {
    test::Line line;
    test::RecordedEvents events;
    acpi_pm::Device device(line.take(), events, acpi_pm::State{.sleep_status = 0x80, .events = 0});
    out(device, 1, 0x00);
    CHECK(in(device, 1) == 0x80);
    out(device, 1, 0x80);
    CHECK(in(device, 1) == 0);
}
