// The network interface's jobs.
#pragma once

#include <span>
#include <string_view>

#include "tools/hako/bench_link.h"

namespace hako::bench {

struct NetJob {
    std::string_view name;
    std::string_view program;  ///< in the guest; HOST stands for the host's address
    bool iperf;                ///< with a server on the host
    Direction direction;
    Quantity quantity;
};
std::span<const NetJob> net_jobs();

}  // namespace hako::bench
