#include "tools/hako/doctor.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "tools/hako/doctor_guest.h"
#include "tools/hako/doctor_io_uring.h"
#include "tools/hako/doctor_kvm.h"
#include "tools/hako/doctor_limits.h"
#include "tools/hako/doctor_memory.h"
#include "tools/hako/doctor_network.h"
#include "tools/hako/doctor_sandbox.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/vm.h"

namespace hako::doctor {
namespace {

void append_kvm_checks(Checks& checks, const Options& options) {
    checks.push_back(judge_kvm_device(probe_kvm_device()));
    // Without the device the others would only say so again.
    if (checks.back().status == Status::kFail) return;
    const auto system = kvm::System::open();
    if (!system) {
        checks.back().status = Status::kFail;
        checks.back().found = system.error().text();
        checks.back().advice = "see dmesg for what KVM says";
        return;
    }
    const Extension extension = [&](std::uint32_t capability) { return system->extension(capability); };
    Checks capabilities = judge_capabilities(extension);
    std::move(capabilities.begin(), capabilities.end(), std::back_inserter(checks));
    checks.push_back(judge_guest(run_test_guest(options.guest_time_limit)));
}

}  // namespace

Report run_checks(const Options& options) {
    Report report;
    Checks& checks = report.checks;
    append_kvm_checks(checks, options);
    checks.push_back(judge_io_uring(probe_io_uring()));
    checks.push_back(judge_userfaultfd(probe_userfaultfd()));
    checks.push_back(judge_hugepages(probe_hugepages()));
    checks.push_back(judge_thp(probe_thp()));
    checks.push_back(judge_tap(probe_tap()));
    checks.push_back(judge_vhost_net(probe_vhost_net()));
    checks.push_back(judge_landlock(probe_landlock()));
    checks.push_back(judge_seccomp(probe_seccomp()));
    const LimitsProbe limits = probe_limits();
    checks.push_back(judge_locked_memory(limits));
    checks.push_back(judge_open_files(limits));
    return report;
}

bool Report::usable() const {
    return !first_failure();
}

std::optional<std::string> Report::first_failure() const {
    const auto failed = std::find_if(checks.begin(), checks.end(),
                                     [](const Check& check) { return check.status == Status::kFail; });
    if (failed == checks.end()) return std::nullopt;
    return fmt::format("{}: {}; to do: {}", failed->name, failed->found, failed->advice);
}

}  // namespace hako::doctor
