// Snapshots of a machine that is made up: its memory changes while it is written.
#include "migration/snapshot/snapshot.h"

#include <doctest/doctest.h>

#include "tests/unit/snapshot/fake_machine.h"
#include "tests/unit/snapshot/temporary_folder.h"

using namespace hako;
using namespace hako::test;

TEST_CASE("what is written while memory is written is in the snapshot") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    for (std::uint64_t page = 0; page < kSize / kPageSize; ++page)
        machine.write(page, static_cast<int>(page % 251));
    int value = 0;
    machine.on_clear = [&](std::uint64_t first) {
        // Behind the writer, and where it is.
        machine.write(0, ++value);
        machine.write(first, value);
    };
    // To take the state may write, too.
    machine.on_save = [&] { machine.write(1000, 77); };
    Snapshot snapshot({.folder = place.path(), .config = "{}", .live = true}, machine);
    const auto outcome = snapshot.run();
    REQUIRE(outcome);
    CHECK(machine.pauses == 1);
    CHECK_FALSE(machine.paused);
    CHECK_FALSE(machine.tracking);
    CHECK(same(read(place.path()), machine.guest));
}

TEST_CASE("a guest that never rests is paused after some rounds") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    std::uint64_t turn = 0;
    machine.on_clear = [&](std::uint64_t) {
        ++turn;
        for (std::uint64_t page = 0; page < kSize / kPageSize; ++page)
            machine.write(page, static_cast<int>(turn % 200) + 1);
    };
    machine.write(0, 1);
    Snapshot snapshot({.folder = place.path(), .config = "{}", .live = true}, machine);
    const auto outcome = snapshot.run();
    REQUIRE(outcome);
    CHECK(outcome->rounds <= 8);
    CHECK(same(read(place.path()), machine.guest));
}

TEST_CASE("a machine that stands is written as it is") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    machine.write(3, 4);
    Snapshot snapshot({.folder = place.path(), .config = "{}"}, machine);
    REQUIRE(snapshot.run());
    CHECK_FALSE(machine.paused);
    CHECK(same(read(place.path()), machine.guest));
}

TEST_CASE("a snapshot that fails leaves the machine running and the folder empty") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    machine.write(3, 4);
    bool live = false;
    bool give_up = false;
    SUBCASE("no pause") {
        machine.fail_pause = true;
    }
    SUBCASE("no state") {
        machine.fail_save = true;
    }
    SUBCASE("no state, live") {
        machine.fail_save = true;
        live = true;
    }
    SUBCASE("given up, live") {
        give_up = true;
        live = true;
    }
    Snapshot snapshot({.folder = place.path(), .config = "{}", .live = live}, machine);
    if (give_up) snapshot.cancel();
    CHECK_FALSE(snapshot.run());
    CHECK_FALSE(machine.paused);
    CHECK_FALSE(machine.tracking);
    CHECK(SnapshotFolder(place.path()).check_empty());
}
