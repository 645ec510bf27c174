#include "tools/hako/bench_contest.h"

#include <fmt/core.h>

namespace hako::bench {
namespace {

/// Several guests on a busy host, or on an emulated one.
constexpr std::chrono::seconds kBootLimit{300};

/// The figures of counting rounds are these two only: their rate suffers from the counting.
Figures joined(Figures timed, const Figures& counted) {
    timed.system_calls = counted.system_calls;
    timed.exits = counted.exits;
    return timed;
}

}  // namespace

Result<std::vector<Figures>> hold(const Command& command, std::string_view job,
                                  std::vector<Contestant> contestants) {
    for (std::uint32_t round = 0; round < command.rounds; ++round) {
        for (Contestant& one : contestants) {
            one.rounds.push_back(HAKO_TRY_WRAP(one.run(false), "{}", job));
            if (command.verbose)
                fmt::print(stderr, "{} round {}: {} {:.6g} units/s\n", job, round + 1, one.name,
                           one.rounds.back().rate);
        }
    }
    std::vector<Figures> medians;
    for (Contestant& one : contestants) {
        Figures figures = median(one.rounds);
        if (one.counts) figures = joined(figures, HAKO_TRY_WRAP(one.run(true), "{}", job));
        medians.push_back(figures);
    }
    return medians;
}

Result<> wait_for_shells(const std::vector<Guest*>& guests) {
    for (Guest* const guest : guests)
        HAKO_TRY(guest->wait_for_shell(kBootLimit));
    return {};
}

}  // namespace hako::bench
