// When to stop copying memory and pause the guest. No clock, no thread: facts in, decision out.
#pragma once

#include <chrono>
#include <cstdint>

namespace hako::migration {

/// What happens when the migration takes longer than it may.
enum class TimeoutStrategy : unsigned char {
    kCancel,    ///< the guest stays at the source
    kIgnore,    ///< the guest is paused for as long as it takes
    kPostcopy,  ///< the guest runs there, and the rest of its memory follows
};

struct ConvergenceConfig {
    std::chrono::milliseconds downtime{300};  ///< aimed for
    std::chrono::seconds timeout{3600};       ///< of the whole migration
    TimeoutStrategy strategy = TimeoutStrategy::kCancel;
    bool auto_converge = false;  ///< vCPUs may be slowed down
    bool postcopy = false;       ///< if what is left after the first round does not fit into the downtime

    bool operator==(const ConvergenceConfig&) const = default;
};

/// What is known at the end of a round.
struct RoundFacts {
    std::uint32_t round = 0;
    std::chrono::nanoseconds elapsed{0};       ///< since the migration began
    std::chrono::nanoseconds duration{0};      ///< of the round, until the destination had all of it
    std::uint64_t bytes = 0;                   ///< sent in it
    std::uint64_t dirty_bytes = 0;             ///< to be sent now
    std::uint64_t state_bytes = 0;             ///< about what the state will take; 0: not known
    std::chrono::nanoseconds restore_cost{0};  ///< announced by the destination
    std::chrono::nanoseconds round_trip{0};
};

enum class Verdict : unsigned char {
    kAnotherRound,
    kPause,     ///< the rest goes while the guest is paused
    kPostcopy,  ///< the rest goes when the guest runs there
    kGiveUp,
};

struct Decision {
    Verdict verdict = Verdict::kAnotherRound;
    unsigned throttle_percent = 0;  ///< of the vCPUs' time, from now on
    std::chrono::nanoseconds predicted_downtime{0};
    std::uint64_t bandwidth = 0;   ///< bytes a second, as measured in the round
    std::uint64_t dirty_rate = 0;  ///< bytes a second, in the round

    bool operator==(const Decision&) const = default;
};

/// Remembers the rounds of one migration.
class Convergence {
  public:
    explicit Convergence(const ConvergenceConfig& config) : config_(config) {}

    Decision decide(const RoundFacts& facts);

  private:
    void throttle(const RoundFacts& facts, const Decision& decision);

    const ConvergenceConfig config_;
    std::uint64_t last_dirty_ = UINT64_MAX;
    std::uint64_t bandwidth_ = 0;  ///< of the last round that told something
    unsigned rounds_of_throttle_ = 0;
    unsigned throttle_percent_ = 0;
};

}  // namespace hako::migration
