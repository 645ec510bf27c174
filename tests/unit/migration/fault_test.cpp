// Everything that can go wrong, at every step: afterwards exactly one side runs the guest, holds the locks,
// and says why.
#include <doctest/doctest.h>

#include <latch>

#include "tests/unit/migration/rig.h"

using namespace hako;
using namespace hako::migration;
using namespace hako::migration::testing;
using Who = World::Who;

namespace {

constexpr std::array kControlFromSource = {Type::kHello, Type::kRound, Type::kState, Type::kLocksReleased,
                                           Type::kGo};
constexpr std::array kDataFromSource = {Type::kJoin, Type::kPages};
constexpr std::array kFromDestination = {Type::kAccept, Type::kJoined, Type::kRoundDone,
                                         Type::kReady,  Type::kLocked, Type::kRunning};

bool is_after_commit(Status source) {
    return source == Status::kUnconfirmed || source == Status::kFinished || source == Status::kLost;
}

/// What must hold after any attempt. Gives the source what an operator would: a try to get its guest back.
void check_one_runs(Rig& rig) {
    CHECK(rig.world.broken() == "");
    const Who first = rig.world.runs();
    if (rig.source_status == Status::kUnconfirmed || rig.source_status == Status::kStranded) {
        CHECK(first != Who::kSource);
        const Status again = rig.source->reclaim();
        if (first == Who::kDestination) CHECK(again != Status::kFailed);
    }
    CHECK(rig.world.broken() == "");
    CHECK(rig.world.runs() != Who::kNobody);
    CHECK(rig.world.owner() == rig.world.runs());
    CHECK((rig.destination_status == Status::kFinished) == (rig.world.runs() == Who::kDestination));
    if (rig.source_status != Status::kFinished) {
        CHECK(rig.source->progress().causes.size() >= 2);
        CHECK(rig.source->progress().event.has_value());
    }
    if (rig.world.runs() == Who::kSource) {
        CHECK_FALSE(rig.source_machine.tracking);
        CHECK(rig.source_machine.throttled == 0);
    }
    if (rig.destination_status != Status::kFinished) {
        CHECK(rig.destination->progress().causes.size() >= 2);
        CHECK(rig.destination_machine.discarded);
    } else {
        CHECK(rig.source_machine.contents() == *rig.destination_machine.memory);
    }
}

void try_trouble(bool at_source, Type type, Harm harm, int after, const Timeouts& timeouts) {
    CAPTURE(at_source);
    CAPTURE(type_name(type));
    CAPTURE(static_cast<int>(harm));
    CAPTURE(after);
    Rig rig;
    auto trouble = make_trouble(type, harm, after);
    (at_source ? rig.pairs.source_trouble : rig.pairs.destination_trouble) = trouble;
    rig.source_config.connections = 2;
    rig.source_config.timeouts = timeouts;
    // A destination that runs never gives its locks up.
    if (type == Type::kRunning || type == Type::kGo || type == Type::kLocked)
        rig.source_config.timeouts.locks = milliseconds(200);
    rig.destination_config.timeouts = timeouts;
    rig.migrate();
    // With short deadlines, a slow machine may not get so far.
    if (timeouts.ready == patient().ready) CHECK(trouble->due);
    // What was sent before the cut may still arrive: LOCKED, and the answer to it.
    const bool may_run =
        type == Type::kRunning || (harm == Harm::kCutAfter && (type == Type::kGo || type == Type::kLocked));
    if (trouble->due && !may_run) CHECK(rig.destination_status != Status::kFinished);
    check_one_runs(rig);
}

template <std::size_t kCount>
void try_all(bool at_source, const std::array<Type, kCount>& types, std::initializer_list<Harm> harms,
             const Timeouts& timeouts) {
    for (const Type type : types) {
        for (const Harm harm : harms) {
            try_trouble(at_source, type, harm, 0, timeouts);
            // ROUND: the second is the control connection's, the last one ends the last round.
            if (type != Type::kRound) continue;
            for (const int after : {1, 2, 3, 5})
                try_trouble(at_source, type, harm, after, timeouts);
        }
    }
}

}  // namespace

TEST_CASE("migration faults: the connections are cut at every frame") {
    const auto harms = {Harm::kCutBefore, Harm::kCutInside, Harm::kCutAfter};
    try_all(true, kControlFromSource, harms, patient());
    try_all(true, kDataFromSource, harms, patient());
    try_all(false, kFromDestination, harms, patient());
}

TEST_CASE("migration faults: one data connection is cut, and the peer's reason is heard over the other one") {
    try_trouble(true, Type::kPages, Harm::kCutThis, 0, patient());
    try_trouble(true, Type::kPages, Harm::kCutThis, 1, patient());
    try_trouble(true, Type::kRound, Harm::kCutThis, 0, patient());
    try_trouble(true, Type::kRound, Harm::kCutThis, 1, patient());
}

TEST_CASE("migration faults: the peer is silent from any frame on") {
    try_all(true, kControlFromSource, {Harm::kSwallow}, hasty());
    try_all(true, kDataFromSource, {Harm::kSwallow}, hasty());
    try_all(false, kFromDestination, {Harm::kSwallow}, hasty());
}

TEST_CASE("migration faults: any frame is damaged") {
    const auto harms = {Harm::kFlipMagic, Harm::kFlipType, Harm::kFlipLength, Harm::kFlipCrc,
                        Harm::kFlipPayload};
    try_all(true, kControlFromSource, harms, hasty());
    try_all(true, kDataFromSource, {Harm::kFlipMagic, Harm::kFlipType, Harm::kFlipLength, Harm::kFlipCrc},
            hasty());
    try_all(false, kFromDestination, harms, hasty());
}

TEST_CASE("migration faults: GO is lost, and the source gets its guest back when it asks") {
    for (const Harm harm : {Harm::kSwallow, Harm::kCutInside}) {
        CAPTURE(static_cast<int>(harm));
        Rig rig;
        rig.pairs.source_trouble = make_trouble(Type::kGo, harm, 0);
        // The destination waits for GO, the source for RUNNING; nothing else is ever late.
        rig.source_config.timeouts.running = milliseconds(50);
        std::atomic<bool> told = false;
        rig.destination_observer = [&](const Progress& progress) {
            if (progress.step == state_name(DestinationState::kLocked)) told = true;
        };
        rig.build();
        std::thread arrives([&] { rig.destination_status = rig.destination->run(); });
        rig.source_status = rig.source->run();
        // A byte of it was out: the source does not go on by itself, whatever the locks are.
        CHECK(rig.source_status == Status::kUnconfirmed);
        CHECK(rig.world.runs() == Who::kNobody);
        if (harm == Harm::kSwallow) rig.destination->cancel();  // its deadline, early
        arrives.join();
        CHECK(told);
        CHECK(rig.destination_status != Status::kFinished);
        CHECK(rig.source->reclaim() == Status::kFailed);
        CHECK(rig.world.runs() == Who::kSource);
        REQUIRE(rig.world.record());
        CHECK(rig.world.record()->epoch == kEpoch + 1);  // the lost GO is worth nothing now
        CHECK(rig.world.broken() == "");
    }
}

TEST_CASE("migration faults: only RUNNING is lost, and the source does not run again") {
    Rig rig;
    rig.pairs.destination_trouble = make_trouble(Type::kRunning, Harm::kCutBefore, 0);
    rig.source_config.timeouts.locks = milliseconds(50);
    rig.migrate();
    CHECK(rig.source_status == Status::kUnconfirmed);
    CHECK(rig.destination_status == Status::kFinished);
    CHECK(rig.source->reclaim() == Status::kStranded);  // the destination has the locks
    // The guest is shut down there, and its locks are free: what is here is of the past all the same.
    rig.world.pause(Who::kDestination);
    rig.world.disown(Who::kDestination);
    CHECK(rig.source->reclaim() == Status::kLost);
    CHECK(rig.world.runs() == Who::kNobody);
    CHECK(rig.world.owner() == Who::kNobody);
    CHECK(rig.world.broken() == "");
}

TEST_CASE("migration faults: every call of the source's machine fails") {
    for (const std::string_view call : {"describe", "start_dirty_tracking", "fetch_dirty", "clear_dirty",
                                        "pause", "save_state", "release_locks"}) {
        for (const int well : {0, 1}) {  // at first, or the second time: fetch_dirty in the pause
            CAPTURE(call);
            CAPTURE(well);
            Rig rig;
            rig.source_config.connections = 2;
            std::atomic<int> left = well;
            rig.source_machine.hook = [&](std::string_view what) -> Result<> {
                if (what == call && left-- == 0) return fail_host("no {} today", call);
                return {};
            };
            rig.migrate();
            check_one_runs(rig);
            if (left < 0) {
                CHECK(rig.world.runs() == Who::kSource);
                CHECK(rig.source->progress().event == Event::kLocal);
                CHECK(rig.source->progress().causes.back() == fmt::format("no {} today", call));
                if (rig.destination->progress().event == Event::kAborted)
                    CHECK(rig.destination->progress().causes.back() == fmt::format("no {} today", call));
            }
        }
    }
}

TEST_CASE("migration faults: every call of the destination's machine fails") {
    for (const std::string_view call :
         {"prepare", "load_state", "acquire_locks", "write_epoch_record", "run"}) {
        CAPTURE(call);
        Rig rig;
        rig.destination_machine.hook = [&](std::string_view what) -> Result<> {
            if (what == call) return fail_host("no {} today", call);
            return {};
        };
        rig.migrate();
        check_one_runs(rig);
        // Even after GO: the destination has not run, its record says so, and the source has the locks.
        CHECK(rig.source_status == Status::kFailed);
        CHECK(rig.world.runs() == Who::kSource);
        CHECK(rig.source->progress().causes.back() == fmt::format("no {} today", call));
        CHECK(rig.destination_status == Status::kFailed);
    }
}

TEST_CASE("migration faults: a destination that cannot run nor say so keeps the guest, paused") {
    Rig rig;
    rig.destination_machine.hook = [](std::string_view call) -> Result<> {
        if (call == "run" || call == "withdraw_epoch_record") return fail_host("the storage is gone");
        return {};
    };
    rig.source_config.timeouts.locks = milliseconds(50);
    rig.migrate();
    CHECK(rig.source_status == Status::kUnconfirmed);
    CHECK(rig.destination_status == Status::kStranded);
    CHECK_FALSE(rig.destination_machine.discarded);
    CHECK(rig.world.owner() == Who::kDestination);
    CHECK(rig.world.runs() == Who::kNobody);
    CHECK(rig.source->reclaim() == Status::kStranded);
    CHECK(rig.world.broken() == "");
}

TEST_CASE("migration faults: a source that cannot have its locks back stays paused") {
    Rig rig;
    rig.destination_machine.hook = [](std::string_view call) -> Result<> {
        if (call == "acquire_locks") return fail_host("no locks today");
        return {};
    };
    bool free = false;
    rig.source_machine.hook = [&](std::string_view call) -> Result<> {
        if (call == "acquire_locks" && !free) return fail_host("somebody else has them");
        return {};
    };
    rig.source_config.timeouts.locks = milliseconds(50);
    rig.migrate();
    CHECK(rig.source_status == Status::kStranded);
    CHECK(rig.world.runs() == Who::kNobody);
    CHECK(rig.source->reclaim() == Status::kStranded);
    free = true;
    CHECK(rig.source->reclaim() == Status::kFailed);
    CHECK(rig.world.runs() == Who::kSource);
    CHECK(rig.world.broken() == "");
}

TEST_CASE("migration faults: the source cancels at every state") {
    for (auto at = SourceState::kConnecting; at <= SourceState::kAwaitRunning;
         at = static_cast<SourceState>(static_cast<int>(at) + 1)) {
        CAPTURE(state_name(at));
        Rig rig;
        bool counted = false;
        rig.source_observer = [&](const Progress& progress) {
            if (progress.step == state_name(at)) counted = rig.source->cancel();
        };
        rig.migrate();
        check_one_runs(rig);
        // It counts if and only if the guest stays.
        CHECK(counted == (at <= SourceState::kCommitting));
        CHECK(rig.source_status == (counted ? Status::kCancelled : Status::kFinished));
    }
}

TEST_CASE("migration faults: the destination cancels at every state") {
    for (auto at = DestinationState::kListening; at <= DestinationState::kAnnouncing;
         at = static_cast<DestinationState>(static_cast<int>(at) + 1)) {
        CAPTURE(state_name(at));
        Rig rig;
        rig.source_config.timeouts = rig.destination_config.timeouts = patient();
        bool counted = false;
        rig.destination_observer = [&](const Progress& progress) {
            if (progress.step == state_name(at)) counted = rig.destination->cancel();
        };
        // Of a source that finds nobody: it is told by the closed connection.
        rig.migrate();
        CHECK(counted == (at < DestinationState::kRecording));
        CHECK(rig.destination_status == (counted ? Status::kCancelled : Status::kFinished));
        check_one_runs(rig);
    }
}

TEST_CASE("migration faults: of a cancel and a commit that race, exactly one happens") {
    for (int turn = 0; turn < 1000; ++turn) {
        Rig rig;
        std::latch near(1);
        rig.source_observer = [&](const Progress& progress) {
            if (progress.step ==
                state_name(turn % 2 == 0 ? SourceState::kCommitting : SourceState::kAwaitLocked))
                near.count_down();
        };
        rig.build();
        bool counted = false;
        std::thread canceller([&] {
            near.wait();
            counted = turn % 4 < 2 ? rig.source->cancel() : rig.destination->cancel();
        });
        rig.migrate();
        canceller.join();
        check_one_runs(rig);
        if (turn % 4 < 2) CHECK(counted == (rig.source_status == Status::kCancelled));
        if (turn % 4 >= 2) CHECK(counted == (rig.destination_status == Status::kCancelled));
        CHECK_FALSE((is_after_commit(rig.source_status) && rig.world.runs() == Who::kSource));
    }
}

TEST_CASE("migration faults: a side that stands still past the other's deadlines, and goes on") {
    for (const std::string_view call :
         {"prepare", "load_state", "acquire_locks", "write_epoch_record", "run"}) {
        CAPTURE(call);
        Rig rig;
        std::latch source_over(1);
        rig.destination_machine.hook = [&](std::string_view what) -> Result<> {
            if (what == call) source_over.wait();
            return {};
        };
        rig.source_config.timeouts = hasty();
        rig.source_config.timeouts.locks = milliseconds(100);
        rig.build();
        std::thread arrives([&] { rig.destination_status = rig.destination->run(); });
        rig.source_status = rig.source->run();
        CHECK(rig.source_status != Status::kFinished);
        // The destination may have the locks and GO: the source must not get its guest back now.
        if (rig.source_status == Status::kUnconfirmed) CHECK(rig.source->reclaim() == Status::kStranded);
        CHECK(rig.world.broken() == "");
        source_over.count_down();
        if (rig.source_status != Status::kUnconfirmed) rig.destination->cancel();
        arrives.join();
        check_one_runs(rig);
    }
    for (const std::string_view call :
         {"describe", "start_dirty_tracking", "pause", "save_state", "release_locks"}) {
        CAPTURE(call);
        Rig rig;
        std::latch destination_over(1);
        rig.source_machine.hook = [&](std::string_view what) -> Result<> {
            if (what == call) destination_over.wait();
            return {};
        };
        rig.destination_config.timeouts = hasty();
        rig.build();
        std::thread arrives([&] {
            rig.destination_status = rig.destination->run();
            destination_over.count_down();
        });
        if (call == "describe") {
            // It waits for the next one, who does not come.
            destination_over.count_down();
        }
        rig.source_status = rig.source->run();
        rig.destination->cancel();
        arrives.join();
        check_one_runs(rig);
    }
}
