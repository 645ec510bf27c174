#include "tools/hako/doctor_sandbox.h"

#include <fmt/core.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "vmm/base/result.h"

namespace hako::doctor {

int probe_landlock() {
    const long version =
        ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0}, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? -errno : static_cast<int>(version);
}

Check judge_landlock(int version_or_error) {
    Check check{.name = "Landlock", .status = Status::kOk, .found = {}, .advice = {}};
    if (version_or_error > 0) {
        check.found = fmt::format("ABI {}", version_or_error);
        return check;
    }
    check.status = Status::kWarn;
    if (version_or_error == -EOPNOTSUPP) {
        check.found = "in the kernel, but switched off";
        check.advice =
            "VMs run without this confinement; switch it on by the kernel's lsm= parameter (add landlock)";
    } else {
        check.found = fmt::format("not available: {}", errno_text(-version_or_error));
        check.advice =
            "VMs run without this confinement; use a kernel with CONFIG_SECURITY_LANDLOCK, and let a "
            "container's seccomp profile allow landlock_create_ruleset";
    }
    return check;
}

SeccompProbe probe_seccomp() {
    const std::uint32_t action = SECCOMP_RET_KILL_PROCESS;
    if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0U, &action) == 0)
        return {.filters = true, .errno_value = 0};
    return {.filters = false, .errno_value = errno};
}

Check judge_seccomp(const SeccompProbe& probe) {
    if (probe.filters)
        return {.name = "seccomp", .status = Status::kOk, .found = "filters work", .advice = {}};
    return {.name = "seccomp",
            .status = Status::kWarn,
            .found = fmt::format("no filters: {}", errno_text(probe.errno_value)),
            .advice = "VMs run without this confinement; use a kernel with CONFIG_SECCOMP_FILTER"};
}

}  // namespace hako::doctor
