#include "migration/convergence.h"

#include <algorithm>
#include <cmath>

#include "vmm/base/units.h"

namespace hako::migration {
namespace {

using std::chrono::nanoseconds;

/// A round with less in it says nothing about the wire.
constexpr std::uint64_t kTelling = 1 * MiB;
/// READY, the locks' way there and back, GO.
constexpr int kRoundTrips = 3;
/// A pause this short is not worth another round.
constexpr nanoseconds kShort = std::chrono::milliseconds(5);
/// Rounds before vCPUs are slowed down, and between two steps.
constexpr std::uint32_t kPatientRounds = 3;
constexpr unsigned kRoundsAStep = 2;
constexpr unsigned kFirstThrottle = 20;
constexpr unsigned kThrottleStep = 10;
constexpr unsigned kMaxThrottle = 99;

std::uint64_t per_second(std::uint64_t bytes, nanoseconds time) {
    const double seconds = std::chrono::duration<double>(time).count();
    return static_cast<std::uint64_t>(static_cast<double>(bytes) / std::max(seconds, 1e-6));
}

nanoseconds time_for(std::uint64_t bytes, std::uint64_t bandwidth) {
    if (bandwidth == 0) return nanoseconds(0);
    const double seconds = static_cast<double>(bytes) / static_cast<double>(bandwidth);
    return nanoseconds(std::llround(std::min(seconds, 1e9) * 1e9));
}

Verdict at_timeout(TimeoutStrategy strategy) {
    switch (strategy) {
        case TimeoutStrategy::kCancel:
            return Verdict::kGiveUp;
        case TimeoutStrategy::kIgnore:
            return Verdict::kPause;
        case TimeoutStrategy::kPostcopy:
            return Verdict::kPostcopy;
    }
    return Verdict::kGiveUp;
}

}  // namespace

Decision Convergence::decide(const RoundFacts& facts) {
    Decision decision;
    if (facts.bytes >= kTelling || bandwidth_ == 0) bandwidth_ = per_second(facts.bytes, facts.duration);
    decision.bandwidth = bandwidth_;
    decision.dirty_rate = per_second(facts.dirty_bytes, facts.duration);
    decision.predicted_downtime = time_for(facts.dirty_bytes + facts.state_bytes, bandwidth_) +
                                  facts.restore_cost + kRoundTrips * facts.round_trip;

    const bool fits = decision.predicted_downtime <= config_.downtime;
    const bool shrinks = facts.dirty_bytes < last_dirty_ / 2;
    last_dirty_ = facts.dirty_bytes;

    // With nothing dirty no further round makes the pause shorter.
    if (facts.dirty_bytes == 0 || (fits && (decision.predicted_downtime <= kShort || !shrinks))) {
        decision.verdict = Verdict::kPause;
    } else if (config_.postcopy) {
        decision.verdict = fits ? Verdict::kPause : Verdict::kPostcopy;
    } else if (facts.elapsed >= config_.timeout) {
        decision.verdict = fits ? Verdict::kPause : at_timeout(config_.strategy);
    } else if (!fits) {
        throttle(facts, decision);
    }
    decision.throttle_percent = throttle_percent_;
    return decision;
}

void Convergence::throttle(const RoundFacts& facts, const Decision& decision) {
    // A guest that dirties slowly gets there without being slowed down.
    if (!config_.auto_converge || facts.round < kPatientRounds || decision.dirty_rate < bandwidth_ / 2)
        return;
    if (rounds_of_throttle_++ % kRoundsAStep != 0) return;
    throttle_percent_ =
        throttle_percent_ == 0 ? kFirstThrottle : std::min(throttle_percent_ + kThrottleStep, kMaxThrottle);
}

}  // namespace hako::migration
