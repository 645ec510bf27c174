// A source and a destination that both do what they should.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/migration/rig.h"

using namespace hako;
using namespace hako::migration;
using namespace hako::migration::testing;
using Who = World::Who;

namespace {

void check_moved(const Rig& rig) {
    CHECK(rig.source_status == Status::kFinished);
    CHECK(rig.destination_status == Status::kFinished);
    CHECK(rig.world.broken() == "");
    CHECK(rig.world.runs() == Who::kDestination);
    CHECK(rig.world.owner() == Who::kDestination);
    CHECK(rig.destination_machine.state == Blob(1000, std::byte{42}));
}

}  // namespace

TEST_CASE("migration: a guest moves, with its memory and state") {
    for (const unsigned connections : {1U, 2U, 3U, 8U}) {
        CAPTURE(connections);
        Rig rig(small_layout());
        rig.source_config.connections = connections;
        rig.migrate();
        check_moved(rig);
        CHECK(rig.source_machine.contents() == *rig.destination_machine.memory);
        CHECK(rig.world.record() == EpochRecord{.epoch = kEpoch, .vm = kUuid, .who = "the destination"});
    }
}

TEST_CASE("migration: what the guest writes meanwhile arrives too") {
    Rig rig(small_layout());
    rig.source_machine.writes = 40;
    rig.source_config.connections = 3;
    rig.source_config.convergence.downtime = milliseconds(0);  // go on for as long as anything is dirty
    rig.migrate();
    check_moved(rig);
    CHECK(rig.source_machine.writes == 0);
    CHECK(rig.source_machine.contents() == *rig.destination_machine.memory);
    CHECK(rig.source->progress().memory.iteration > 1);
}

TEST_CASE("migration: pages of zeros cost next to nothing, and take no memory at the destination") {
    Rig rig(small_layout());
    rig.source_config.connections = 2;
    rig.migrate();
    check_moved(rig);
    const MemoryView& view = rig.destination_machine.memory->view();
    std::uint64_t filled = 0;
    for (std::size_t region = 0; region < view.mappings.size(); ++region) {
        std::vector<unsigned char> resident(view.layout.regions[region].pages());
        REQUIRE(::mincore(view.mappings[region].data(), view.mappings[region].size(), resident.data()) == 0);
        for (std::uint64_t page = 0; page < resident.size(); ++page) {
            // All of them are there at the source, where one of three was written with zeros.
            const bool wanted = page % 3 != 0 || (region == 1 && page == 8);
            CHECK((resident[page] & 1) == (wanted ? 1 : 0));
            filled += wanted ? 1 : 0;
        }
    }
    CHECK(rig.source->progress().memory.bytes_transmitted < filled * kPageSize * 11 / 10);
}

TEST_CASE("migration: the progress says what happened, on both sides") {
    Rig rig(small_layout());
    std::vector<std::string> steps;
    rig.source_observer = [&](const Progress& progress) { steps.push_back(progress.step); };
    rig.migrate();
    const Progress progress = rig.source->progress();
    const std::uint64_t pages = small_layout().pages();
    CHECK(progress.status == Status::kFinished);
    CHECK(progress.phase == Phase::kOver);
    CHECK(progress.memory.bytes_total == pages * kPageSize);
    // One page in three is zero; one was dirtied while the state was saved, and sent again.
    CHECK(progress.memory.pages_4k_transmitted + progress.memory.pages_constant_count == pages + 1);
    CHECK(progress.memory.pages_constant_count ==
          pages - pages / 3 * 2 - (pages % 3 != 0 ? pages % 3 - 1 : 0) + 0);
    CHECK(progress.memory.bytes_transmitted > progress.memory.pages_4k_transmitted * kPageSize);
    CHECK(progress.memory.bytes_remaining_iteration == 0);
    CHECK(progress.causes.empty());
    CHECK(progress.stamps.paused != 0);
    const Progress theirs = rig.destination->progress();
    CHECK(theirs.status == Status::kFinished);
    CHECK(theirs.stamps.paused == progress.stamps.paused);
    CHECK(theirs.stamps.first_instruction == progress.stamps.first_instruction);
    CHECK(theirs.memory.bytes_transmitted == progress.memory.bytes_transmitted);
    CHECK(steps == std::vector<std::string>{"connecting", "negotiating", "joining", "precopy", "pausing",
                                            "saving", "last-round", "await-ready", "releasing",
                                            "await-locked", "committing", "await-running", "handed-over"});
    // Each state that is over has its time.
    std::vector<std::string> timed;
    for (const StepTime& step : progress.steps.over())
        timed.emplace_back(step.step);
    steps.pop_back();
    CHECK(timed == steps);
    CHECK(theirs.steps.over().back().step == "announcing");
}

TEST_CASE("migration: local, descriptors go instead of memory") {
    Rig rig;
    const Fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    rig.source_machine.local_fds = {{.name = "memory", .fd = file.get()},
                                    {.name = "disk:a", .fd = file.get()}};
    rig.source_config.local = true;
    rig.migrate();
    check_moved(rig);
    REQUIRE(rig.destination_machine.received_fds.size() == 2);
    CHECK(rig.destination_machine.received_fds[1].name == "disk:a");
    struct ::stat sent{};
    struct ::stat received{};
    REQUIRE(::fstat(file.get(), &sent) == 0);
    REQUIRE(::fstat(rig.destination_machine.received_fds[0].fd.get(), &received) == 0);
    CHECK(sent.st_rdev == received.st_rdev);
    CHECK(rig.source->progress().memory.bytes_transmitted == 0);
}

TEST_CASE("migration: a guest that writes too fast stays, or is paused for as long as it takes") {
    for (const auto strategy : {TimeoutStrategy::kCancel, TimeoutStrategy::kIgnore}) {
        Rig rig;
        rig.source_machine.writes = 1'000'000;
        rig.destination_machine.restore_cost = std::chrono::seconds(1);
        rig.source_config.convergence = {
            .downtime = milliseconds(10), .timeout = std::chrono::seconds(0), .strategy = strategy};
        rig.migrate();
        if (strategy == TimeoutStrategy::kIgnore) {
            check_moved(rig);
            continue;
        }
        CHECK(rig.source_status == Status::kFailed);
        CHECK(rig.source->progress().event == Event::kTimeout);
        CHECK(rig.destination_status == Status::kFailed);
        CHECK(rig.world.broken() == "");
        CHECK(rig.world.runs() == Who::kSource);
        CHECK_FALSE(rig.source_machine.tracking);
    }
}

TEST_CASE("migration: vCPUs are slowed down when they may be, and not for longer than needed") {
    Rig rig;
    rig.source_machine.writes = 30;
    rig.destination_machine.restore_cost = std::chrono::seconds(1);  // a pause never fits
    rig.source_config.convergence = {
        .downtime = milliseconds(10), .timeout = std::chrono::seconds(3600), .auto_converge = true};
    int rounds = 0;
    rig.source_machine.hook = [&](std::string_view call) -> Result<> {
        if (call == "fetch_dirty" && ++rounds == 20) rig.source->cancel();
        return {};
    };
    rig.migrate();
    CHECK(rig.source_status == Status::kCancelled);
    CHECK(rig.source_machine.throttled == 0);
    CHECK(rig.world.runs() == Who::kSource);
}

TEST_CASE("migration: the limit can be changed while it holds") {
    Rig rig;
    rig.source_config.bandwidth = 1;  // a byte a second: it would never end
    bool opened = false;
    rig.source_machine.hook = [&](std::string_view call) -> Result<> {
        if (call == "clear_dirty" && !std::exchange(opened, true)) rig.source->set_bandwidth(0);
        return {};
    };
    rig.migrate();
    check_moved(rig);
}

TEST_CASE("migration: a destination that refuses says why, and the guest is not touched") {
    Rig rig;
    rig.destination_machine.hook = [](std::string_view call) -> Result<> {
        if (call == "prepare") {
            Error why(Fault::kInput, "CPUID leaf 7, EBX: bit 16 (avx512f) is missing");
            return std::unexpected(std::move(why).wrap("the source's CPU has what this one lacks"));
        }
        return {};
    };
    bool paused = false;
    rig.source_machine.hook = [&](std::string_view call) -> Result<> {
        paused = paused || call == "pause" || call == "start_dirty_tracking";
        return {};
    };
    rig.migrate();
    const Progress progress = rig.source->progress();
    CHECK(rig.source_status == Status::kFailed);
    CHECK(progress.event == Event::kRefused);
    REQUIRE(progress.causes.size() == 3);
    CHECK(progress.causes[1] == "the source's CPU has what this one lacks");
    CHECK(progress.causes[2] == "CPUID leaf 7, EBX: bit 16 (avx512f) is missing");
    CHECK_FALSE(paused);
    CHECK(rig.destination_machine.discarded);
}
