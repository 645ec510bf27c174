#include <doctest/doctest.h>

#include "devices/i8042/device.h"
#include "tests/unit/devices/ports.h"
#include "tests/unit/devices/recorded_events.h"

using namespace hako;
using test::in;
using test::out;

namespace {

/// The answer to a controller command, or -1 if there is none.
int ask(i8042::Device& device, unsigned command) {
    out(device, 4, command);
    if ((in(device, 4) & 1) == 0) return -1;
    return in(device, 0);
}

}  // namespace

TEST_CASE("the reset line is pulled by each of its three ways, and by nothing else") {
    test::RecordedEvents events;
    i8042::Device device(events);
    for (const unsigned command : {0x20U, 0xaaU, 0xadU, 0xf1U, 0xffU})
        out(device, 4, command);
    out(device, 0, 0xfe);  // a keyboard's byte, not a command
    CHECK(events.resets == 0);
    out(device, 4, 0xfe);
    CHECK(events.resets == 1);
    out(device, 4, 0xf0);
    CHECK(events.resets == 2);
    out(device, 4, 0xd1);
    out(device, 0, 0xdf);  // A20 on: the bit of the reset line stays up
    CHECK(events.resets == 2);
    out(device, 4, 0xd1);
    out(device, 0, 0xfe);
    CHECK(events.resets == 3);
}

TEST_CASE("a probe gets every answer at once and finds no keyboard and no mouse") {
    test::RecordedEvents events;
    i8042::Device device(events);
    CHECK((in(device, 4) & 0x03) == 0);  // nothing to read, ready for a command
    const int byte = ask(device, 0x20);
    CHECK(byte == 0x34);
    out(device, 4, 0x60);
    CHECK((in(device, 4) & 0x0a) == 0x08);
    out(device, 0, 0x45);
    CHECK(ask(device, 0x20) == 0x45);
    CHECK(ask(device, 0xaa) == 0x55);
    CHECK(ask(device, 0xab) == 0x01);
    CHECK(ask(device, 0xa9) == 0x01);
    out(device, 4, 0xd3);
    out(device, 0, 0x5a);
    CHECK(in(device, 0) != 0x5a);
    out(device, 0, 0xf2);  // identify yourself
    CHECK((in(device, 4) & 1) == 0);
    CHECK(ask(device, 0x55) == -1);
}

TEST_CASE("keyboard and mouse are switched in the command byte") {
    test::RecordedEvents events;
    i8042::Device device(events);
    out(device, 4, 0xae);
    out(device, 4, 0xa8);
    CHECK(ask(device, 0x20) == 0x04);
    out(device, 4, 0xad);
    CHECK(ask(device, 0x20) == 0x14);
    out(device, 4, 0xa7);
    CHECK(ask(device, 0x20) == 0x34);
}

TEST_CASE("a controller built from a state goes on in the middle of a command") {
    test::RecordedEvents events;
    i8042::Device before(events);
    out(before, 4, 0xd0);
    out(before, 4, 0x60);
    const i8042::State saved = before.state();

    i8042::Device after(events, saved);
    CHECK(after.state() == saved);
    CHECK(in(after, 0) == 0x03);
    out(after, 0, 0x47);
    CHECK(ask(after, 0x20) == 0x47);
}
