// What an operator sees of a migration. Field names are those that controllers parse already, where they have
// one.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "migration/failure.h"
#include "migration/protocol/messages.h"

namespace hako::migration {

/// What goes on, in the order in which it does.
enum class Phase : unsigned char {
    kStarting,    ///< connecting, agreeing
    kPrecopy,     ///< memory goes, the guest runs
    kCompleting,  ///< the guest is paused
    kPostcopy,    ///< the guest runs at the destination, the rest of its memory goes
    kOver,
};

enum class Status : unsigned char {
    kOngoing,
    kFinished,     ///< the guest runs at the destination
    kFailed,       ///< the guest goes on here
    kCancelled,    ///< so it does
    kUnconfirmed,  ///< handed over, and the destination did not say that it runs: reclaim() finds out
    kStranded,     ///< paused here, without the disks' locks or unable to resume: reclaim() tries again
    kLost,         ///< the destination has run since: the guest here is of the past
    kGone,         ///< destination: what was still to come never will
};

[[nodiscard]] std::string_view phase_name(Phase phase);
[[nodiscard]] std::string_view status_name(Status status);

struct MemoryProgress {
    std::uint32_t iteration = 0;
    std::uint64_t bps = 0;                        ///< bytes a second, in the last round that is over
    std::uint64_t bytes_total = 0;                ///< of the guest
    std::uint64_t bytes_transmitted = 0;          ///< on the wire
    std::uint64_t bytes_remaining_iteration = 0;  ///< of this round
    std::uint64_t pages_4k_transmitted = 0;
    std::uint64_t pages_4k_remaining_iteration = 0;
    std::uint64_t pages_constant_count = 0;  ///< zero pages, told and not sent
    std::uint64_t dirty_rate_pps = 0;        ///< pages a second, in the last round that is over

    bool operator==(const MemoryProgress&) const = default;
};

/// Downtime as both sides saw it. Stamps are of the source's clock, corrected by what the handshake made out;
/// they are good to half the round trip.
struct Stamps {
    Stamp paused = 0;             ///< last guest instruction at the source
    Stamp first_instruction = 0;  ///< at the destination; 0: not known
    std::uint64_t round_trip_ns = 0;

    [[nodiscard]] std::uint64_t downtime_ns() const {
        return first_instruction > paused ? first_instruction - paused : 0;
    }
    bool operator==(const Stamps&) const = default;
};

/// Of a postcopy. The destination knows all of it, the source how often it broke.
struct PostcopyProgress {
    std::uint64_t pages_missing = 0;  ///< still
    std::uint64_t faults = 0;         ///< that waited for a page from the source, and have it
    std::uint64_t fault_p50_ns = 0;   ///< from a fault until its page was there
    std::uint64_t fault_p99_ns = 0;
    std::uint64_t fault_max_ns = 0;
    std::uint64_t interruptions = 0;  ///< how often the connection broke

    bool operator==(const PostcopyProgress&) const = default;
};

/// How long a state of docs/migration.md lasted, over all times it was entered.
struct StepTime {
    std::string_view step;
    std::chrono::nanoseconds time{0};
};

/// Where the time goes.
class StepTimes {
  public:
    /// The state before is over, and `step`, which lives for ever, begins.
    void enter(std::string_view step);
    /// Those that are over, in the order in which they were first entered.
    [[nodiscard]] const std::vector<StepTime>& over() const { return over_; }

  private:
    std::vector<StepTime> over_;
    std::string_view now_;
    std::chrono::steady_clock::time_point since_;
};

/// Of the source; a destination fills in what it knows.
struct Progress {
    Status status = Status::kOngoing;
    Phase phase = Phase::kStarting;
    std::string step;       ///< the state of docs/migration.md
    std::string transport;  ///< "tcp, 4 connections, TLS"
    Stamp timestamp_begin = 0;
    Stamp timestamp_snapshot = 0;  ///< of this reading
    std::uint64_t downtime_configured_ms = 0;
    std::uint64_t downtime_estimated_ms = 0;
    unsigned vcpu_throttle_percent = 0;
    MemoryProgress memory;
    Stamps stamps;  ///< once the guest is paused
    StepTimes steps;
    std::optional<PostcopyProgress> postcopy;  ///< once that is how it goes
    std::optional<Event> event;                ///< why it failed, or was interrupted
    std::vector<std::string> causes;           ///< outermost first
};

/// CLOCK_REALTIME.
[[nodiscard]] Stamp now_stamp();

}  // namespace hako::migration
