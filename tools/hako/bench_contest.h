// Guests that do the same job in turn, several times.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/hako/bench_command.h"
#include "tools/hako/bench_guest.h"
#include "tools/hako/bench_meter.h"
#include "tools/hako/bench_table.h"

namespace hako::bench {

/// Who takes part.
struct Contestant {
    std::string_view name;
    /// Does the job once. `counting`: system calls and exits are counted instead of CPU time.
    std::function<Result<Figures>(bool counting)> run;
    bool counts = true;  ///< there is something to count
};

/// Everybody does the job `command.rounds` times, by turns, so that a slow minute of the host hits all alike,
/// and once more with counters, which all rounds then have. In the order of `contestants`.
Result<std::vector<std::vector<Figures>>> hold(const Command& command, std::string_view job,
                                               std::vector<Contestant> contestants);

/// The user asked for this job, or for all.
bool wanted(const Command& command, std::string_view job);

/// Shells of all guests are there; they boot at the same time.
Result<> wait_for_shells(const std::vector<Guest*>& guests);

}  // namespace hako::bench
