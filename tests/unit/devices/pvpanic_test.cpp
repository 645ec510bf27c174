#include <doctest/doctest.h>

#include "devices/pvpanic/device.h"
#include "tests/unit/devices/ports.h"
#include "tests/unit/devices/recorded_events.h"

using namespace hako;

TEST_CASE("pvpanic tells both events apart and ignores others") {
    test::RecordedEvents events;
    pvpanic::Device device(events);
    CHECK(test::in(device, 0) == 3);
    test::out(device, 0, 0);
    test::out(device, 0, 0xfc);
    CHECK(events.panics + events.crashes == 0);
    test::out(device, 0, 1);
    CHECK(events.panics == 1);
    CHECK(events.crashes == 0);
    test::out(device, 0, 2);
    CHECK(events.panics == 1);
    CHECK(events.crashes == 1);
}
