#include "tools/hako/doctor_limits.h"

#include <fmt/core.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include "tools/hako/doctor_file.h"
#include "vmm/base/units.h"

namespace hako::doctor {
namespace {

/// 64 vCPUs, 24 disks with a few queues each, their eventfds, and room.
constexpr std::uint64_t kWantedFiles = 1024;
/// What systemd gives to services and sessions; rings fit into it.
constexpr std::uint64_t kWantedLockedMemory = 8 * MiB;

Limit soft_limit(__rlimit_resource resource) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
    return limit.rlim_cur;
}

}  // namespace

LimitsProbe probe_limits() {
    return {.locked_memory = soft_limit(RLIMIT_MEMLOCK),
            .ipc_lock = has_capability(CAP_IPC_LOCK),
            .open_files = soft_limit(RLIMIT_NOFILE)};
}

Check judge_locked_memory(const LimitsProbe& probe) {
    Check check{.name = "locked memory", .status = Status::kOk, .found = {}, .advice = {}};
    if (!probe.locked_memory) {
        check.found = "unlimited";
    } else if (probe.ipc_lock) {
        check.found = fmt::format("{}, which CAP_IPC_LOCK lifts", format_size(*probe.locked_memory));
    } else {
        check.found = format_size(*probe.locked_memory);
        if (*probe.locked_memory < kWantedLockedMemory) {
            check.status = Status::kWarn;
            check.advice =
                "the kernel may refuse to register buffers with io_uring: ulimit -l unlimited, or "
                "LimitMEMLOCK=infinity in a systemd unit";
        }
    }
    return check;
}

Check judge_open_files(const LimitsProbe& probe) {
    Check check{.name = "open files", .status = Status::kOk, .found = {}, .advice = {}};
    check.found = probe.open_files ? fmt::format("{}", *probe.open_files) : "unlimited";
    if (probe.open_files && *probe.open_files < kWantedFiles) {
        check.status = Status::kWarn;
        check.advice = fmt::format("a VM with many disks and CPUs needs more: ulimit -n {}", kWantedFiles);
    }
    return check;
}

}  // namespace hako::doctor
