#include "devices/watchdog/countdown.h"

#include <doctest/doctest.h>

using namespace hako;
using namespace hako::watchdog;
using namespace std::chrono_literals;

namespace {

io::Time now{};
io::Time read_now() {
    return now;
}

/// Stages of 3 and 2 seconds that end in a reset, and a clock to be set.
struct Rig {
    explicit Rig(const CountdownState& state = {}, const Course& changes = {.first = 3s, .second = 2s})
        : countdown([this] { ++expired; }, read_now, state) {
        countdown.set_course(changes);
        static_cast<void>(countdown.resume());
    }
    /// After so much time: how long until the next look.
    std::optional<std::chrono::nanoseconds> look(std::chrono::nanoseconds passed) {
        now += passed;
        const auto next = countdown.look();
        return next ? std::optional<std::chrono::nanoseconds>(*next - now) : std::nullopt;
    }

    int expired = 0;
    Countdown countdown;
};

}  // namespace

TEST_CASE("a guest that does not reload has two stages, then its machine is reset, once") {
    Rig rig;
    CHECK_FALSE(rig.look(1h));
    CHECK(rig.countdown.start());
    CHECK(rig.look(0s) == 3s);
    CHECK(rig.look(2999ms) == 1ms);
    CHECK(rig.countdown.metrics().warnings == 0);
    CHECK(rig.look(1ms) == 2s);
    CHECK(rig.countdown.metrics().warnings == 1);
    CHECK(rig.countdown.state() == CountdownState{.stage = 2, .left_ns = 2'000'000'000});
    CHECK(rig.look(1999ms) == 1ms);
    CHECK(rig.expired == 0);
    CHECK_FALSE(rig.look(1ms));
    CHECK(rig.expired == 1);
    CHECK(rig.countdown.state() == CountdownState{.timed_out = true});
    CHECK_FALSE(rig.look(1h));
    CHECK_FALSE(rig.countdown.reload());
    CHECK_FALSE(rig.look(1h));
    CHECK(rig.expired == 1);
    rig.countdown.clear_timed_out();
    CHECK(rig.countdown.state() == CountdownState{});
}

TEST_CASE("a reload begins with the first stage, and needs nobody unless it brings an earlier end") {
    Rig rig;
    CHECK_FALSE(rig.countdown.reload());  // it does not count
    CHECK(rig.countdown.start());
    CHECK(rig.look(0s) == 3s);
    for (int i = 0; i < 5; ++i) {
        now += 2s;
        CHECK_FALSE(rig.countdown.reload());
    }
    CHECK(rig.countdown.metrics().kicks == 6);
    CHECK(rig.look(0s) == 3s);
    CHECK(rig.countdown.metrics().warnings == 0);
    // Shorter from the next reload on.
    rig.countdown.set_course({.first = 1s, .second = 2s});
    CHECK(rig.look(0s) == 3s);
    CHECK(rig.countdown.reload());
    CHECK(rig.look(0s) == 1s);
    // In the second stage, too.
    CHECK(rig.look(1s) == 2s);
    CHECK(rig.countdown.reload());
    CHECK(rig.countdown.state().stage == 1);
    CHECK(rig.look(0s) == 1s);
    CHECK(rig.expired == 0);
    rig.countdown.stop();
    CHECK_FALSE(rig.look(1h));
    CHECK(rig.expired == 0);
}

TEST_CASE("time stands still while it is paused, and what is left goes along") {
    CountdownState saved;
    {
        Rig rig;
        CHECK(rig.countdown.start());
        now += 1s;
        rig.countdown.pause();
        CHECK_FALSE(rig.look(1h));
        CHECK(rig.countdown.state() == CountdownState{.stage = 1, .left_ns = 2'000'000'000});
        rig.countdown.pause();
        CHECK(rig.countdown.resume());
        CHECK(rig.look(0s) == 2s);
        CHECK(rig.look(2s) == 2s);
        now += 500ms;
        rig.countdown.pause();
        saved = rig.countdown.state();
        CHECK(saved == CountdownState{.stage = 2, .left_ns = 1'500'000'000});
        CHECK(rig.expired == 0);
    }
    now += 1h;
    Rig next(saved);
    CHECK(next.countdown.state() == saved);
    CHECK(next.look(0s) == 1500ms);
    CHECK_FALSE(next.look(1500ms));
    CHECK(next.expired == 1);
}

TEST_CASE("a pause after the end of a stage leaves nothing of it, and less than nothing is nothing") {
    Rig rig;
    CHECK(rig.countdown.start());
    now += 1h;
    CHECK(rig.countdown.state().left_ns == 0);
    rig.countdown.pause();
    CHECK(rig.countdown.state() == CountdownState{.stage = 1});
    CHECK(rig.countdown.resume());
    // The process stood still: the guest has the second stage to say something.
    CHECK(rig.look(0s) == 2s);
    CHECK(rig.expired == 0);
}

TEST_CASE("without a reset the end is noted, and the first stage follows where that is wanted") {
    Rig once({}, {.first = 3s, .second = 2s, .interrupt = true, .reset = false});
    CHECK(once.countdown.start());
    CHECK(once.look(3s) == 2s);
    CHECK(once.countdown.state().interrupt);
    CHECK_FALSE(once.look(2s));
    CHECK(once.countdown.state() == CountdownState{.interrupt = true, .timed_out = true});
    once.countdown.clear_interrupt();
    CHECK(once.countdown.state() == CountdownState{.timed_out = true});

    Rig again({}, {.first = 3s, .second = 2s, .reset = false, .again = true});
    CHECK(again.countdown.start());
    for (int i = 0; i < 3; ++i) {
        CHECK(again.look(3s) == 2s);
        CHECK(again.look(2s) == 3s);
    }
    CHECK(again.expired == 0);
    CHECK(once.expired == 0);
    CHECK(again.countdown.state().timed_out);
    CHECK_FALSE(again.countdown.state().interrupt);
}

TEST_CASE("no stage is too short") {
    Rig rig({}, {.reset = false, .again = true});
    CHECK(rig.countdown.start());
    CHECK(rig.look(0s) == Countdown::kShortest);
    CHECK(rig.look(Countdown::kShortest) == Countdown::kShortest);
}
