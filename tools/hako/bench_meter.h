// What one VM did between two moments.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>

#include "tools/hako/bench_table.h"
#include "tools/hako/bench_usage.h"
#include "vmm/base/result.h"

namespace hako::bench {

struct Sample {
    std::chrono::steady_clock::time_point at;
    CpuTime cpu;
    std::optional<std::uint64_t> system_calls;
    std::optional<std::uint64_t> exits;
};

/// What `units` of work took from one sample to the other. Those with counts give no CPU time: counting slows
/// each system call down.
Figures figures_between(const Sample& begin, const Sample& end, double units, double seconds);

class Meter {
  public:
    /// `counting`: system calls and exits. Without the right to count them they are left out.
    static Meter start(::pid_t pid, bool counting);
    Result<Sample> sample() const;

  private:
    explicit Meter(::pid_t pid) : pid_(pid) {}

    ::pid_t pid_;
    std::optional<EventCounter> system_calls_;
    std::optional<EventCounter> exits_;
};

}  // namespace hako::bench
