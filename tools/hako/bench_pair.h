// hako and, perhaps, QEMU at the same jobs.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tools/hako/bench_contest.h"

namespace hako::bench {

/// Each of the jobs that the user asked for, as hako's guest does it (the first of `guests`) and, if there is
/// a second, QEMU's. An `Each` has a `guest`, and a run(command, job, counting) that gives Figures;
/// `unit(job)` says of what.
template <typename Each, typename Job, typename Unit>
Result<std::vector<Row>> measure_pair(const Command& command, std::span<const Job> jobs,
                                      const std::vector<std::unique_ptr<Each>>& guests, Unit unit) {
    std::vector<Row> rows;
    for (const Job& job : jobs) {
        if (!wanted(command, job.name)) continue;
        std::vector<Contestant> contestants;
        for (const auto& one : guests)
            contestants.push_back({.name = one->guest.name(), .run = [&, who = one.get()](bool counting) {
                                       return who->run(command, job, counting);
                                   }});
        const auto rounds = HAKO_TRY(hold(command, job.name, std::move(contestants)));
        rows.push_back(make_row(std::string(job.name), unit(job), rounds[0],
                                guests.size() > 1 ? rounds[1] : std::vector<Figures>{}, {}));
    }
    return rows;
}

}  // namespace hako::bench
