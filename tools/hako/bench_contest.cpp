#include "tools/hako/bench_contest.h"

#include <fmt/core.h>

#include <algorithm>

namespace hako::bench {
namespace {

/// Several guests on a busy host, or on an emulated one.
constexpr std::chrono::seconds kBootLimit{300};

}  // namespace

Result<std::vector<std::vector<Figures>>> hold(const Command& command, std::string_view job,
                                               std::vector<Contestant> contestants) {
    std::vector<std::vector<Figures>> rounds(contestants.size());
    for (std::uint32_t round = 0; round < command.rounds; ++round) {
        for (std::size_t turn = 0; turn < contestants.size(); ++turn) {
            // Every other round goes backwards: nobody always has the host as another left it.
            const std::size_t who = round % 2 == 0 ? turn : contestants.size() - 1 - turn;
            const Figures figures = HAKO_TRY_WRAP(contestants[who].run(false), "{}", job);
            rounds[who].push_back(figures);
            if (command.verbose)
                fmt::print(stderr, "{} round {}: {} {:.6g} units/s\n", job, round + 1, contestants[who].name,
                           figures.rate);
        }
    }
    for (std::size_t who = 0; who < contestants.size(); ++who) {
        if (!contestants[who].counts) continue;
        // The rate of this round suffers from the counting.
        const Figures counted = HAKO_TRY_WRAP(contestants[who].run(true), "{}", job);
        for (Figures& one : rounds[who]) {
            one.system_calls = counted.system_calls;
            one.exits = counted.exits;
        }
    }
    return rounds;
}

bool wanted(const Command& command, std::string_view job) {
    return command.jobs.empty() ||
           std::find(command.jobs.begin(), command.jobs.end(), job) != command.jobs.end();
}

Result<> wait_for_shells(const std::vector<Guest*>& guests) {
    for (Guest* const guest : guests)
        HAKO_TRY(guest->wait_for_shell(kBootLimit));
    return {};
}

}  // namespace hako::bench
