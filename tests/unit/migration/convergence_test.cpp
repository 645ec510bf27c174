// When to stop copying.
#include "migration/convergence.h"

#include <doctest/doctest.h>

#include <vector>

#include "vmm/base/units.h"

using namespace hako;
using namespace hako::migration;
using namespace std::chrono_literals;

namespace {

/// A second-long round of 1 GiB, after which this much is dirty.
RoundFacts after(std::uint64_t dirty_bytes, std::uint32_t round = 0) {
    return {.round = round,
            .elapsed = 1s * (round + 1),
            .duration = 1s,
            .bytes = GiB,
            .dirty_bytes = dirty_bytes};
}

}  // namespace

TEST_CASE("migration convergence: the prediction has all that a pause consists of") {
    Convergence convergence({});
    RoundFacts facts = after(GiB / 2);
    facts.state_bytes = GiB / 4;
    facts.restore_cost = 10ms;
    facts.round_trip = 2ms;
    const Decision decision = convergence.decide(facts);
    CHECK(decision.bandwidth == GiB);
    CHECK(decision.dirty_rate == GiB / 2);
    CHECK(decision.predicted_downtime == 766ms);
    CHECK(decision.verdict == Verdict::kAnotherRound);
}

TEST_CASE("migration convergence: pauses when it fits, but not while a round more makes it much shorter") {
    Convergence convergence({.downtime = 300ms});
    CHECK(convergence.decide(after(GiB / 2)).verdict == Verdict::kAnotherRound);
    CHECK(convergence.decide(after(GiB / 5)).verdict == Verdict::kAnotherRound);  // fits, and shrinks
    CHECK(convergence.decide(after(GiB / 6)).verdict == Verdict::kPause);  // fits, and no longer shrinks
    CHECK(Convergence({}).decide(after(MiB)).verdict == Verdict::kPause);  // short as it is
    CHECK(Convergence({.downtime = 1ms}).decide(after(0)).verdict == Verdict::kPause);
}

TEST_CASE("migration convergence: postcopy at once, after a round that leaves too much") {
    Convergence convergence({.downtime = 300ms, .postcopy = true});
    CHECK(convergence.decide(after(GiB / 5)).verdict == Verdict::kPause);
    CHECK(convergence.decide(after(GiB / 2)).verdict == Verdict::kPostcopy);
}

TEST_CASE("migration convergence: a round with next to nothing in it says nothing about the wire") {
    Convergence convergence({});
    CHECK(convergence.decide(after(GiB)).bandwidth == GiB);
    RoundFacts empty = after(GiB, 1);
    empty.bytes = 100;
    CHECK(convergence.decide(empty).bandwidth == GiB);
}

TEST_CASE("migration convergence: at the timeout the strategy decides, unless it fits") {
    const auto at_timeout = [](TimeoutStrategy strategy, std::uint64_t dirty_bytes) {
        Convergence convergence({.downtime = 300ms, .timeout = 5s, .strategy = strategy});
        return convergence.decide(after(dirty_bytes, 4)).verdict;
    };
    CHECK(at_timeout(TimeoutStrategy::kCancel, GiB) == Verdict::kGiveUp);
    CHECK(at_timeout(TimeoutStrategy::kIgnore, GiB) == Verdict::kPause);
    CHECK(at_timeout(TimeoutStrategy::kPostcopy, GiB) == Verdict::kPostcopy);
    CHECK(at_timeout(TimeoutStrategy::kPostcopy, MiB) == Verdict::kPause);
    CHECK(at_timeout(TimeoutStrategy::kCancel, GiB / 5) == Verdict::kPause);
}

TEST_CASE(
    "migration convergence: vCPUs are slowed down in steps, and only for a guest that writes too fast") {
    Convergence convergence({.downtime = 1ms, .auto_converge = true});
    std::vector<unsigned> steps;
    for (std::uint32_t round = 0; round < 30; ++round)
        steps.push_back(convergence.decide(after(GiB, round)).throttle_percent);
    CHECK(steps[2] == 0);
    CHECK(steps[3] == 20);
    CHECK(steps[4] == 20);
    CHECK(steps[5] == 30);
    CHECK(steps[29] == 99);
    Convergence slow({.downtime = 1ms, .auto_converge = true});
    Convergence forbidden({.downtime = 1ms});
    for (std::uint32_t round = 0; round < 30; ++round) {
        CHECK(slow.decide(after(GiB / 3, round)).throttle_percent == 0);
        CHECK(forbidden.decide(after(GiB, round)).throttle_percent == 0);
    }
}
