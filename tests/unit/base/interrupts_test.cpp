#include "vmm/bus/interrupts.h"

#include <doctest/doctest.h>

#include "tests/unit/base/fake_interrupts.h"

using namespace hako;

TEST_CASE("a masked vector keeps its signal pending and costs no route") {
    test::FakeInterrupts controller;
    auto vector = MsiVector::create(controller);
    REQUIRE(vector);
    vector->event().signal();
    CHECK(vector->pending());
    CHECK(controller.routes.empty());

    REQUIRE(vector->configure({.address = 0xfee00000, .data = 0x41}, false));
    CHECK(controller.routes.at(24) == MsiMessage{0xfee00000, 0x41});
    CHECK(controller.connected.at(24) == vector->event().fd());
    CHECK_FALSE(vector->pending());

    REQUIRE(vector->configure({.address = 0xfee00000, .data = 0x41}, true));
    CHECK(controller.connected.empty());
    CHECK(controller.routes.size() == 1);
    REQUIRE(vector->configure({.address = 0xfee00000, .data = 0x42}, false));
    CHECK(controller.routes.at(24).data == 0x42);
}

TEST_CASE("a vector that goes away gives everything back") {
    test::FakeInterrupts controller;
    {
        auto vector = MsiVector::create(controller);
        REQUIRE(vector);
        REQUIRE(vector->configure({.address = 0xfee00000, .data = 1}, false));
        const MsiVector moved = std::move(*vector);
        CHECK(controller.connected.size() == 1);
    }
    CHECK(controller.connected.empty());
    CHECK(controller.routes.empty());
}

TEST_CASE("a full routing table is an error, not a crash") {
    test::FakeInterrupts controller;
    controller.limit = 24;
    auto vector = MsiVector::create(controller);
    REQUIRE(vector);
    CHECK_FALSE(vector->configure({.address = 0xfee00000, .data = 1}, false));
    CHECK(controller.connected.empty());
}

TEST_CASE("a line is connected for as long as it lives") {
    test::FakeInterrupts controller;
    {
        auto line = IrqLine::create(controller, 4);
        REQUIRE(line);
        CHECK(controller.connected.contains(4));
    }
    CHECK(controller.connected.empty());
}
