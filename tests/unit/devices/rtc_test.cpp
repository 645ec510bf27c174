#include <doctest/doctest.h>

#include <cstdlib>

#include "devices/rtc/device.h"
#include "tests/unit/devices/ports.h"

using namespace hako;

namespace {

constexpr std::int64_t kLeapDay = 1709251199;  // Thursday 2024-02-29 23:59:59 UTC

struct Clock {
    explicit Clock(const std::optional<rtc::State>& state = std::nullopt)
        : device({.now = [this] { return now; }}, state) {}

    unsigned get(unsigned index) {
        test::out(device, 0, index);
        return test::in(device, 1);
    }
    void set(unsigned index, unsigned value) {
        test::out(device, 0, index);
        test::out(device, 1, value);
    }
    /// Century, year, month, day, hours, minutes, seconds as they stand in the registers.
    std::vector<unsigned> time() { return {get(0x32), get(9), get(8), get(7), get(4), get(2), get(0)}; }

    std::int64_t now = kLeapDay;
    rtc::Device device;
};

using Time = std::vector<unsigned>;

}  // namespace

TEST_CASE("the host's time is read in BCD and 24 hours, and goes on") {
    Clock clock;
    CHECK(clock.time() == Time{0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x59});
    CHECK(clock.get(6) == 5);  // Sunday is 1
    clock.now += 1;
    CHECK(clock.time() == Time{0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00});
}

TEST_CASE("no update is ever in progress and the battery is good") {
    Clock clock;
    CHECK(clock.get(0x0a) == 0x26);
    clock.set(0x0a, 0xff);
    CHECK(clock.get(0x0a) == 0x7f);
    CHECK(clock.get(0x0b) == 0x02);
    CHECK(clock.get(0x0c) == 0);
    clock.set(0x0d, 0);
    CHECK(clock.get(0x0d) == 0x80);
    CHECK(test::in(clock.device, 0) == 0xff);
}

TEST_CASE("binary and 12-hour formats are the guest's choice") {
    Clock clock;
    clock.set(0x0b, 0x06);
    CHECK(clock.time() == Time{20, 24, 2, 29, 23, 59, 59});
    clock.set(0x0b, 0x00);
    CHECK(clock.get(4) == 0x91);  // 11 pm
    clock.now += 1;
    CHECK(clock.get(4) == 0x12);  // midnight
    clock.now += 12 * 3600;
    CHECK(clock.get(4) == 0x92);  // noon
}

TEST_CASE("a guest that sets the clock keeps an offset to the host's") {
    Clock clock;
    clock.set(0x0b, 0x82);  // stop
    clock.now += 100;
    CHECK(clock.get(0) == 0x59);
    const Time wanted = {0x19, 0x99, 0x12, 0x31, 0x23, 0x58, 0x30};
    for (const auto& [index, value] : {std::pair{0x32U, 0x19U},
                                       {9U, 0x99U},
                                       {8U, 0x12U},
                                       {7U, 0x31U},
                                       {4U, 0x23U},
                                       {2U, 0x58U},
                                       {0U, 0x30U}})
        clock.set(index, value);
    clock.now += 100;
    CHECK(clock.time() == wanted);
    clock.set(0x0b, 0x02);  // go
    CHECK(clock.time() == wanted);
    clock.now += 90;
    CHECK(clock.time() == Time{0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00});
}

TEST_CASE("a byte set while the clock runs changes that byte alone") {
    Clock clock;
    clock.set(4, 0x05);
    CHECK(clock.time() == Time{0x20, 0x24, 0x02, 0x29, 0x05, 0x59, 0x59});
    clock.now += 1;
    CHECK(clock.time() == Time{0x20, 0x24, 0x02, 0x29, 0x06, 0x00, 0x00});
}

TEST_CASE("dates that do not exist, and bytes that are no numbers, do no harm") {
    Clock clock;
    clock.set(7, 0x31);  // 31 February 2024
    CHECK(clock.get(8) == 0x03);
    CHECK(clock.get(7) == 0x02);
    for (unsigned format = 0; format < 8; format += 2) {
        for (const unsigned value : {0x00U, 0xffU, 0xaaU}) {
            clock.set(0x0b, 0x80U | format);
            for (const unsigned index : {0x32U, 9U, 8U, 7U, 6U, 4U, 2U, 0U})
                clock.set(index, value);
            clock.set(0x0b, format);
            (void)clock.time();
            const rtc::State state = clock.device.state();
            CHECK(rtc::Device({.now = [&] { return clock.now; }}, state).state() == state);
        }
    }
}

TEST_CASE("the other bytes are memory, and bit 7 of the index is not part of it") {
    Clock clock;
    for (unsigned index = 0x0e; index < 0x80; ++index)
        if (index != 0x32) clock.set(index, index ^ 0xffU);
    for (unsigned index = 0x0e; index < 0x80; ++index)
        if (index != 0x32) CHECK(clock.get(index | 0x80U) == (index ^ 0xffU));
    clock.set(1, 0x12);  // alarm seconds
    CHECK(clock.get(1) == 0x12);
}

TEST_CASE("a clock built from a state tells the same time") {
    Clock before;
    before.set(4, 0x05);
    before.set(0x40, 0x99);
    const rtc::State saved = before.device.state();
    Clock after(saved);
    CHECK(after.device.state() == saved);
    CHECK(after.get(0x40) == 0x99);
    CHECK(after.time() == before.time());

    // Offsets beyond what the calendar can hold.
    for (const std::int64_t offset : {INT64_MIN, INT64_MAX}) {
        Clock wild(rtc::State{.index = 0xff, .ram = {}, .offset_seconds = offset});
        CHECK(wild.device.state().index == 0x7f);
        (void)wild.time();
        CHECK(std::abs(wild.device.state().offset_seconds) < std::int64_t{1} << 40);
    }
}
