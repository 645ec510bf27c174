#include "tools/hako/bench_vsock_jobs.h"

#include <array>

#include "vmm/base/units.h"

namespace hako::bench {
namespace {

constexpr std::array<VsockJob, 4> kJobs = {{
    {"vsock-send", VsockPart::kRead, 256 * KiB, "-u -b 262144 OPEN:/dev/zero HOST"},
    {"vsock-receive", VsockPart::kWrite, 256 * KiB, "-u -b 262144 HOST OPEN:/dev/null"},
    {"vsock-echo-64", VsockPart::kEcho, 64, "HOST PIPE"},
    {"vsock-echo-4096", VsockPart::kEcho, 4096, "HOST PIPE"},
}};

}  // namespace

std::span<const VsockJob> vsock_jobs() {
    return kJobs;
}

}  // namespace hako::bench
