#include "tools/hako/bench_net_jobs.h"

#include <array>

namespace hako::bench {
namespace {

constexpr std::array<NetJob, 11> kJobs = {{
    {"tcp-send", "iperf3 -c HOST -t 3600 -i 0", true, Direction::kFromGuest, Quantity::kBytes},
    {"tcp-receive", "iperf3 -c HOST -t 3600 -i 0 -R", true, Direction::kToGuest, Quantity::kBytes},
    {"tcp-send-4", "iperf3 -c HOST -t 3600 -i 0 -P 4", true, Direction::kFromGuest, Quantity::kBytes},
    {"tcp-receive-4", "iperf3 -c HOST -t 3600 -i 0 -P 4 -R", true, Direction::kToGuest, Quantity::kBytes},
    {"udp-send-64", "iperf3 -c HOST -t 3600 -i 0 -u -b 0 -l 64", true, Direction::kFromGuest,
     Quantity::kPackets},
    {"udp-receive-64", "iperf3 -c HOST -t 3600 -i 0 -u -b 0 -l 64 -R", true, Direction::kToGuest,
     Quantity::kPackets},
    {"udp-send-512", "iperf3 -c HOST -t 3600 -i 0 -u -b 0 -l 512", true, Direction::kFromGuest,
     Quantity::kPackets},
    {"udp-send-1400", "iperf3 -c HOST -t 3600 -i 0 -u -b 0 -l 1400", true, Direction::kFromGuest,
     Quantity::kPackets},
    {"udp-receive-1400", "iperf3 -c HOST -t 3600 -i 0 -u -b 0 -l 1400 -R", true, Direction::kToGuest,
     Quantity::kPackets},
    {"ping-64", "ping -q -f -s 56 HOST", false, Direction::kFromGuest, Quantity::kPackets},
    {"ping-1400", "ping -q -f -s 1392 HOST", false, Direction::kFromGuest, Quantity::kPackets},
}};

}  // namespace

std::span<const NetJob> net_jobs() {
    return kJobs;
}

}  // namespace hako::bench
