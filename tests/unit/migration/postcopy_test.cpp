// Postcopy: the guest runs at the destination before its memory is there.
#include <doctest/doctest.h>

#include <future>

#include "tests/unit/migration/rig.h"

using namespace hako;
using namespace hako::migration;
using namespace hako::migration::testing;
using Who = World::Who;

namespace {

constexpr std::uint64_t kMine = 0xabcdef;

/// A guest at the destination that goes over all of its memory as soon as it runs, and writes some of it.
class Guest {
  public:
    explicit Guest(Rig& rig) : rig_(rig) {}
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;
    ~Guest() {
        if (thread_.joinable()) thread_.join();
    }

    /// From machine.run() on.
    void start(int cpus = 1) {
        thread_ = std::thread([this, cpus, trap = rig_.destination_machine.trap] {
            std::vector<std::thread> others;
            for (int cpu = 1; cpu < cpus; ++cpu)
                others.emplace_back([this, trap] { work(*trap); });
            work(*trap);
            for (std::thread& other : others)
                other.join();
        });
    }
    void finish() { thread_.join(); }
    [[nodiscard]] bool started() const { return thread_.joinable(); }
    static bool writes(const PagePlace& page) { return page.first % 5 == 2; }

  private:
    void work(FakeTrap& trap) const {
        const MemoryLayout& layout = rig_.source_machine.contents().view().layout;
        // Backwards, where the background does not come from.
        for (std::size_t region = layout.regions.size(); region-- > 0;) {
            for (std::uint64_t page = layout.regions[region].pages(); page-- > 0;) {
                const PagePlace place{.region = region, .first = page};
                trap.touch(place, writes(place) ? std::optional(kMine) : std::nullopt);
            }
        }
    }

    Rig& rig_;
    std::thread thread_;
};

/// A rig whose pause never fits, so that what is dirty after the first round comes by postcopy.
struct PostcopyRig : Rig {
    explicit PostcopyRig(const MemoryLayout& layout = tiny_layout()) : Rig(layout) {
        source_config.convergence = {.downtime = milliseconds(10), .postcopy = true};
        source_config.timeouts.retry = destination_config.timeouts.retry = milliseconds(1);
        destination_machine.restore_cost = std::chrono::seconds(1);
        source_machine.writes = 1;
        destination_machine.hook = [this](std::string_view call) -> Result<> {
            if (call == "run" && guest_runs) guest.start(cpus);
            return {};
        };
    }

    Guest guest{*this};
    bool guest_runs = true;
    int cpus = 1;

    /// But for one frame, nothing goes after the first round that nobody asked for.
    void only_what_is_asked_for() {
        source_machine.hook = [this](std::string_view call) -> Result<> {
            if (call == "save_state") source->set_bandwidth(1);
            return {};
        };
    }

    /// Runs both to their ends. A source that has no end because nobody is there any more is told to give up.
    void move() {
        build();
        std::atomic<bool> there = false;
        std::thread arrives([&] {
            destination_status = destination->run();
            there = true;
        });
        std::atomic<bool> here = false;
        std::thread judge([&] {
            while (!here) {
                if (there && source->progress().step == "paused-recoverable") source->cancel();
                std::this_thread::sleep_for(milliseconds(1));
            }
        });
        source_status = source->run();
        here = true;
        judge.join();
        if (source_status != Status::kFinished && source_status != Status::kUnconfirmed)
            destination->cancel();
        arrives.join();
        if (guest.started()) guest.finish();
    }
};

/// All of the source's memory is there, but for what the guest has written since.
void check_memory(const PostcopyRig& rig) {
    const MemoryView& from = rig.source_machine.contents().view();
    const MemoryView& to = rig.destination_machine.memory->view();
    for (std::size_t region = 0; region < from.layout.regions.size(); ++region) {
        for (std::uint64_t page = 0; page < from.layout.regions[region].pages(); ++page) {
            const PagePlace place{.region = region, .first = page};
            std::vector<std::byte> wanted(from.pages(place, 1).begin(), from.pages(place, 1).end());
            if (rig.guest_runs && Guest::writes(place)) std::memcpy(wanted.data() + 8, &kMine, sizeof kMine);
            const auto found = to.pages(place, 1);
            if (std::memcmp(wanted.data(), found.data(), kPageSize) == 0) continue;
            CAPTURE(region);
            CAPTURE(page);
            FAIL_CHECK("the page is another one");
        }
    }
}

void check_moved(const PostcopyRig& rig) {
    CHECK(rig.source_status == Status::kFinished);
    CHECK(rig.destination_status == Status::kFinished);
    CHECK(rig.world.broken() == "");
    CHECK(rig.world.runs() == Who::kDestination);
    CHECK(rig.world.owner() == Who::kDestination);
    CHECK(rig.destination_machine.halts == 0);
    CHECK(rig.destination_machine.trap->broken() == "");
    check_memory(rig);
}

}  // namespace

TEST_CASE("postcopy: the guest finds every page, and keeps what it wrote") {
    for (const unsigned connections : {1U, 2U, 4U}) {
        for (const int cpus : {1, 3}) {
            CAPTURE(connections);
            CAPTURE(cpus);
            PostcopyRig rig(small_layout());
            rig.cpus = cpus;
            rig.source_config.connections = connections;
            rig.move();
            check_moved(rig);
            const auto told = rig.destination->progress().postcopy;
            REQUIRE(told);
            CHECK(told->pages_missing == 0);
            CHECK(told->interruptions == 0);
        }
    }
}

TEST_CASE("postcopy: what is asked for goes first, whatever the limit for the rest is") {
    PostcopyRig rig;
    rig.only_what_is_asked_for();
    rig.source_config.connections = 2;
    rig.move();
    check_moved(rig);
}

TEST_CASE("postcopy: each side goes through its states") {
    PostcopyRig rig;
    std::vector<std::string> source;
    std::vector<std::string> destination;
    rig.source_observer = [&](const Progress& progress) { source.push_back(progress.step); };
    rig.destination_observer = [&](const Progress& progress) { destination.push_back(progress.step); };
    rig.move();
    check_moved(rig);
    CHECK(source == std::vector<std::string>{"connecting", "negotiating", "joining", "precopy", "pausing",
                                             "saving", "last-round", "await-ready", "releasing",
                                             "await-locked", "committing", "serving", "handed-over"});
    CHECK(destination == std::vector<std::string>{"listening", "greeting", "preparing", "joining",
                                                  "receiving", "loading", "last-round", "ready", "locking",
                                                  "locked", "recording", "starting", "announcing", "faulting",
                                                  "runs"});
    CHECK(rig.source->progress().stamps.first_instruction != 0);
    CHECK(rig.source->progress().stamps == rig.destination->progress().stamps);
}

TEST_CASE("postcopy: what is stale is taken away before the pause") {
    PostcopyRig rig;
    std::uint64_t before = 0;
    rig.source_machine.hook = [&](std::string_view call) -> Result<> {
        if (call == "pause") before = rig.destination_machine.trap->removed_early();
        return {};
    };
    rig.move();
    check_moved(rig);
    CHECK(before > 0);
    CHECK(rig.destination_machine.trap->removed_early() == before);
}

TEST_CASE("postcopy: a pause that fits is a pause") {
    PostcopyRig rig;
    rig.source_config.convergence.downtime = milliseconds(60'000);
    rig.guest_runs = false;
    rig.move();
    check_moved(rig);
    CHECK_FALSE(rig.source->progress().postcopy);
}

TEST_CASE("postcopy: the way out at the timeout") {
    PostcopyRig rig(small_layout());
    rig.source_machine.writes = 1'000'000;
    rig.source_config.connections = 2;
    rig.source_config.convergence = {.downtime = milliseconds(10),
                                     .timeout = std::chrono::seconds(0),
                                     .strategy = TimeoutStrategy::kPostcopy};
    rig.move();
    check_moved(rig);
    CHECK(rig.source->progress().postcopy);
}

TEST_CASE("postcopy: a host that cannot refuses before the pause, and says why") {
    for (const auto strategy : {TimeoutStrategy::kCancel, TimeoutStrategy::kPostcopy}) {
        PostcopyRig rig;
        rig.source_config.convergence.strategy = strategy;
        rig.source_config.convergence.postcopy = strategy == TimeoutStrategy::kCancel;
        rig.destination_machine.hook = [](std::string_view call) -> Result<> {
            if (call == "trap_pages") return fail_host("userfaultfd is refused");
            return {};
        };
        bool touched = false;
        rig.source_machine.hook = [&](std::string_view call) -> Result<> {
            touched = touched || call == "pause" || call == "start_dirty_tracking";
            return {};
        };
        rig.move();
        CHECK(rig.source_status == Status::kFailed);
        CHECK(rig.source->progress().event == Event::kRefused);
        CHECK(rig.source->progress().causes.back() == "userfaultfd is refused");
        CHECK_FALSE(touched);
        CHECK(rig.world.runs() == Who::kSource);
        CHECK(rig.destination_machine.discarded);
    }
}

TEST_CASE("postcopy: not where memory is handed over") {
    PostcopyRig rig;
    rig.source_config.local = true;
    CHECK_FALSE(Source::create(rig.source_config, rig.pairs, rig.source_machine).has_value());
}

namespace {

constexpr std::array kFromSourceBefore = {Type::kHello, Type::kJoin, Type::kState, Type::kLocksReleased};
constexpr std::array kFromDestinationBefore = {Type::kAccept, Type::kJoined, Type::kRoundDone, Type::kReady,
                                               Type::kLocked};

/// One harm, once: afterwards one side runs the guest, with all of its memory. How often either side was
/// interrupted.
int try_trouble(bool at_source, Type type, Harm harm, int after, const Timeouts& timeouts) {
    CAPTURE(at_source);
    CAPTURE(type_name(type));
    CAPTURE(static_cast<int>(harm));
    CAPTURE(after);
    PostcopyRig rig;
    auto trouble = make_trouble(type, harm, after);
    rig.only_what_is_asked_for();
    (at_source ? rig.pairs.source_trouble : rig.pairs.destination_trouble) = trouble;
    rig.source_config.connections = 2;
    rig.source_config.timeouts = rig.destination_config.timeouts = timeouts;
    rig.source_config.timeouts.retry = rig.destination_config.timeouts.retry = milliseconds(1);
    rig.source_config.timeouts.locks = milliseconds(200);
    std::atomic<int> breaks = 0;
    const auto end_silence = [&](const Progress& progress) {
        if (progress.step != "paused-recoverable") return;
        ++breaks;
        const std::lock_guard lock(trouble->mutex);
        trouble->swallowing = false;
    };
    rig.source_observer = rig.destination_observer = end_silence;
    rig.move();
    CHECK(rig.world.broken() == "");
    if (rig.source_status == Status::kUnconfirmed || rig.source_status == Status::kStranded) {
        CHECK(rig.world.runs() != Who::kSource);
        rig.source->reclaim();
    }
    CHECK(rig.world.broken() == "");
    CHECK(rig.world.runs() != Who::kNobody);
    CHECK(rig.world.owner() == rig.world.runs());
    CHECK((rig.destination_status == Status::kFinished) == (rig.world.runs() == Who::kDestination));
    if (rig.world.runs() == Who::kDestination) {
        CHECK(rig.destination_machine.halts == 0);
        CHECK(rig.destination->progress().causes.empty());
        check_memory(rig);
    } else {
        CHECK(rig.source->progress().causes.size() >= 2);
        CHECK(rig.destination->progress().causes.size() >= 2);
        CHECK(rig.destination_machine.discarded);
    }
    return breaks;
}

template <std::size_t kCount>
int try_all(bool at_source, const std::array<Type, kCount>& types, std::initializer_list<Harm> harms,
            std::initializer_list<int> afters, const Timeouts& timeouts) {
    int breaks = 0;
    for (const Type type : types)
        for (const Harm harm : harms)
            for (const int after : afters)
                breaks += try_trouble(at_source, type, harm, after, timeouts);
    return breaks;
}

const auto kCuts = {Harm::kCutBefore, Harm::kCutInside, Harm::kCutAfter};
const auto kFlips = {Harm::kFlipMagic, Harm::kFlipType, Harm::kFlipLength, Harm::kFlipCrc,
                     Harm::kFlipPayload};
/// Pages that come after GO; the first rounds have two.
const auto kLatePages = {2, 3, 4};
/// The first ends of rounds are those of the precopy; some of the last end the postcopy.
const auto kRounds = {0, 3, 6, 8, 9, 10, 11};
/// In the precopy, and in the pause.
const auto kBothMissing = {0, 1};

}  // namespace

TEST_CASE("postcopy faults: the connections are cut at every frame") {
    CHECK(try_all(true, kFromSourceBefore, kCuts, {0}, patient()) == 0);
    CHECK(try_all(true, std::array{Type::kMissing}, kCuts, kBothMissing, patient()) == 0);
    CHECK(try_all(false, kFromDestinationBefore, kCuts, {0}, patient()) <= 2);  // LOCKED may still arrive
    CHECK(try_all(true, std::array{Type::kGo}, kCuts, {0}, patient()) > 0);
    CHECK(try_all(false, std::array{Type::kRunning}, kCuts, {0}, patient()) >= 3);
    CHECK(try_all(false, std::array{Type::kPageRequest}, kCuts, {0, 1}, patient()) > 0);
    CHECK(try_all(true, std::array{Type::kPages}, kCuts, kLatePages, patient()) > 3);
    CHECK(try_all(true, std::array{Type::kRound}, kCuts, kRounds, patient()) > 0);
    CHECK(try_all(false, std::array{Type::kRoundDone}, kCuts, {1}, patient()) == 0);
    CHECK(try_all(false, std::array{Type::kRoundDone}, kCuts, {2}, patient()) > 0);
}

TEST_CASE("postcopy faults: one data connection is cut") {
    CHECK(try_all(true, std::array{Type::kPages}, {Harm::kCutThis}, kLatePages, patient()) > 1);
    try_all(true, std::array{Type::kRound}, {Harm::kCutThis}, kRounds, patient());
}

TEST_CASE("postcopy faults: any frame is damaged") {
    try_all(true, std::array{Type::kMissing}, kFlips, kBothMissing, hasty());
    try_all(true, std::array{Type::kGo}, kFlips, {0}, hasty());
    CHECK(try_all(true, std::array{Type::kPages},
                  {Harm::kFlipMagic, Harm::kFlipType, Harm::kFlipLength, Harm::kFlipCrc}, {2, 3},
                  hasty()) > 0);
    try_all(true, std::array{Type::kRound}, kFlips, kRounds, hasty());
    try_all(false, std::array{Type::kRunning, Type::kPageRequest}, kFlips, {0}, hasty());
    try_all(false, std::array{Type::kRoundDone}, kFlips, {1}, hasty());
}

TEST_CASE("postcopy faults: the peer is silent from any frame on") {
    try_all(true, std::array{Type::kMissing, Type::kGo}, {Harm::kSwallow}, {0}, hasty());
    try_all(true, std::array{Type::kPages}, {Harm::kSwallow}, kLatePages, hasty());
    try_all(true, std::array{Type::kRound}, {Harm::kSwallow}, kRounds, hasty());
    try_all(false, std::array{Type::kRunning, Type::kPageRequest}, {Harm::kSwallow}, {0}, hasty());
    try_all(false, std::array{Type::kRoundDone}, {Harm::kSwallow}, {1}, hasty());
}

TEST_CASE("postcopy faults: a source that does not come again, and a destination that is given up") {
    PostcopyRig rig;
    rig.pairs.source_trouble = make_trouble(Type::kPages, Harm::kCutBefore, 2);
    rig.source_observer = [&](const Progress& progress) {
        // Not before: nobody gives up a guest that goes on.
        if (progress.step == "serving") CHECK_FALSE(rig.source->cancel());
        if (progress.step == "paused-recoverable") rig.source->cancel();
    };
    rig.destination_observer = [&](const Progress& progress) {
        if (progress.step == "faulting") CHECK_FALSE(rig.destination->cancel());
        if (progress.step != "paused-recoverable") return;
        CHECK(progress.causes.size() >= 1);
        CHECK(progress.status == Status::kOngoing);
        CHECK(rig.destination->cancel());
    };
    rig.guest_runs = false;
    rig.move();
    CHECK(rig.world.broken() == "");
    CHECK(rig.destination_status == Status::kGone);
    CHECK(rig.destination_machine.halts == 1);
    CHECK(rig.world.runs() == Who::kNobody);
    CHECK(rig.source_status == Status::kUnconfirmed);
    // The destination's process is gone, and with it its locks: the guest has run there, and is lost.
    rig.world.disown(Who::kDestination);
    CHECK(rig.source->reclaim() == Status::kLost);
    CHECK(rig.world.runs() == Who::kNobody);
}

TEST_CASE("postcopy faults: a connection breaks before the machine says that it runs") {
    PostcopyRig rig;
    rig.source_config.connections = 2;
    std::promise<void> mended;
    rig.pairs.source_trouble = make_trouble(Type::kPages, Harm::kCutBefore, 2);
    rig.destination_machine.hook = [&](std::string_view call) -> Result<> {
        if (call != "run") return {};
        rig.guest.start(1);
        mended.get_future().wait();  // as if it stood at a missing page
        return {};
    };
    int starts = 0;
    rig.destination_observer = [&](const Progress& progress) {
        if (progress.step == "starting" && ++starts == 2) mended.set_value();
    };
    rig.move();
    CHECK(starts == 2);
    CHECK(rig.source_status == Status::kFinished);
    CHECK(rig.destination_status == Status::kFinished);
    check_memory(rig);
}

TEST_CASE("postcopy faults: somebody else comes in the source's place") {
    PostcopyRig rig;
    rig.pairs.source_trouble = make_trouble(Type::kPages, Harm::kCutBefore, 2);
    std::atomic<bool> refused = false;
    std::promise<void> answered;
    std::future<void> strangers_turn = answered.get_future();
    std::vector<std::thread> strangers;
    rig.destination_observer = [&](const Progress& progress) {
        if (progress.step != "paused-recoverable" || !strangers.empty()) return;
        // All that is no secret is right.
        strangers.emplace_back([&] {
            const auto stream = rig.pairs.connect(Wait{}).value();
            REQUIRE(send_message(*stream, Recover{.uuid = kUuid, .epoch = kEpoch}, Wait{}));
            refused = !receive_message<Accept>(*stream, Wait{});
            answered.set_value();
        });
    };
    // Not before: once the source is there nobody is listened to.
    rig.source_observer = [&](const Progress& progress) {
        if (progress.step == "paused-recoverable" && strangers_turn.valid()) strangers_turn.get();
    };
    rig.move();
    for (std::thread& stranger : strangers)
        stranger.join();
    CHECK(refused);
    check_moved(rig);
}
