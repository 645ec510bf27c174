#include "tools/hako/doctor.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstdint>
#include <set>
#include <string>

#include "tools/hako/doctor_file.h"
#include "tools/hako/doctor_guest.h"
#include "tools/hako/doctor_io_uring.h"
#include "tools/hako/doctor_kvm.h"
#include "tools/hako/doctor_limits.h"
#include "tools/hako/doctor_memory.h"
#include "tools/hako/doctor_network.h"
#include "tools/hako/doctor_sandbox.h"
#include "vmm/base/units.h"
#include "vmm/kvm/uapi.h"

using namespace hako;
using namespace hako::doctor;

namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// What holds for every check: one line each, and advice where it is needed.
void check_form(const Check& check) {
    CHECK_FALSE(check.name.empty());
    CHECK_FALSE(check.found.empty());
    CHECK_MESSAGE(check.advice.empty() == (check.status == Status::kOk), check.name << ": " << check.advice);
    CHECK_FALSE(contains(check.found + check.advice, "\n"));
}

Report sample(Status last) {
    return {
        {{.name = "one", .status = Status::kOk, .found = "works", .advice = ""},
         {.name = "second", .status = Status::kWarn, .found = "a \"quoted\" thing", .advice = "do this"},
         {.name = "third", .status = last, .found = "what", .advice = last == Status::kOk ? "" : "do that"}}};
}

}  // namespace

TEST_CASE("a host is usable when no check failed") {
    CHECK(sample(Status::kOk).usable());
    CHECK(sample(Status::kWarn).usable());
    CHECK_FALSE(sample(Status::kFail).usable());
    CHECK_FALSE(sample(Status::kWarn).first_failure());
    CHECK(sample(Status::kFail).first_failure() == "third: what; to do: do that");
}

TEST_CASE("the report for machines has one object a check") {
    const auto report = boost::json::parse(json_text(sample(Status::kFail)));
    CHECK(report.at("usable") == boost::json::value(false));
    const auto& checks = report.at("checks").as_array();
    REQUIRE(checks.size() == 3);
    CHECK(
        checks[1] ==
        boost::json::value(boost::json::object{
            {"name", "second"}, {"status", "warn"}, {"found", "a \"quoted\" thing"}, {"advice", "do this"}}));
    CHECK(checks[0].at("status") == "ok");
    CHECK(checks[2].at("status") == "fail");
    CHECK(boost::json::parse(json_text(sample(Status::kWarn))).at("usable") == boost::json::value(true));
}

TEST_CASE("the report for people is a line a check, with advice below those that are not ok") {
    CHECK(human_text(sample(Status::kFail)) ==
          "ok   one     works\n"
          "warn second  a \"quoted\" thing\n"
          "             -> do this\n"
          "fail third   what\n"
          "             -> do that\n"
          "\nVMs cannot run here: see the lines that begin with \"fail\".\n");
    CHECK(contains(human_text(sample(Status::kOk)), "\nVMs can run here.\n"));
}

TEST_CASE("a real run of all checks is well-formed and its names differ") {
    // Whether this host has KVM does not matter here.
    const Report report = run_checks({.guest_time_limit = std::chrono::milliseconds(200)});
    CHECK(report.checks.size() >= 11);
    std::set<std::string> names;
    for (const Check& check : report.checks) {
        check_form(check);
        names.insert(check.name);
    }
    CHECK(names.size() == report.checks.size());
}

TEST_CASE("a KVM device that opens is ok and names its module") {
    const Check check = judge_kvm_device(
        {.open_error = 0, .api_version = 12, .modules = "kvm_amd", .kvm_loaded = true, .in_vm = true});
    CHECK(check.status == Status::kOk);
    CHECK(check.found == "/dev/kvm opens, API 12, module kvm_amd; this host is itself a VM");
    CHECK(judge_kvm_device({.api_version = 13}).status == Status::kFail);
}

TEST_CASE("the advice for a missing KVM device depends on the CPU and on what is loaded") {
    const auto advice = [](KvmDeviceProbe probe) {
        probe.open_error = ENOENT;
        const Check check = judge_kvm_device(probe);
        CHECK(check.status == Status::kFail);
        check_form(check);
        return check.advice;
    };
    CHECK(contains(advice({.cpu_amd = true}), "modprobe kvm_amd"));
    CHECK(contains(advice({.cpu_intel = true}), "modprobe kvm_intel"));
    CHECK(contains(advice({.in_vm = true}), "nested"));
    CHECK(contains(advice({}), "firmware"));
    CHECK(contains(advice({.modules = "kvm_amd", .kvm_loaded = true, .cpu_amd = true}), "container"));
}

TEST_CASE("a KVM device that may not be opened is told apart from one that is not there") {
    const auto judge = [](int error) {
        KvmDeviceProbe probe;
        probe.open_error = error;
        const Check check = judge_kvm_device(probe);
        CHECK(check.status == Status::kFail);
        check_form(check);
        return check;
    };
    CHECK(contains(judge(EACCES).advice, "usermod -aG kvm"));
    CHECK(contains(judge(EPERM).advice, "--device /dev/kvm"));
    CHECK(contains(judge(ENODEV).found, "no KVM stands behind it"));
    CHECK(contains(judge(EMFILE).found, "EMFILE"));
}

TEST_CASE("a missing required capability fails, an optional one warns") {
    const auto without = [](std::uint32_t missing) {
        return judge_capabilities([missing](std::uint32_t number) {
            if (number == missing) return 0;
            return number == KVM_CAP_MAX_VCPUS ? 288 : 1;
        });
    };
    for (const Check& check : without(UINT32_MAX)) {
        CHECK(check.status == Status::kOk);
        check_form(check);
    }
    const Checks no_irqfd = without(KVM_CAP_IRQFD);
    REQUIRE(no_irqfd.size() == 3);
    CHECK(no_irqfd[0].status == Status::kFail);
    CHECK(no_irqfd[0].found == "without IRQFD");
    CHECK(no_irqfd[1].status == Status::kOk);
    const Checks no_ring = without(KVM_CAP_DIRTY_LOG_RING);
    CHECK(no_ring[0].status == Status::kOk);
    CHECK(no_ring[1].status == Status::kWarn);
    CHECK(contains(no_ring[1].found, "DIRTY_LOG_RING"));
    check_form(no_ring[1]);
}

TEST_CASE("fewer vCPUs than hako allows is a warning, none at all a failure") {
    const auto status = [](int max) {
        const Checks checks =
            judge_capabilities([max](std::uint32_t number) { return number == KVM_CAP_MAX_VCPUS ? max : 1; });
        check_form(checks.at(2));
        return checks.at(2).status;
    };
    CHECK(status(64) == Status::kOk);
    CHECK(status(4) == Status::kWarn);
    CHECK(status(0) == Status::kFail);
}

TEST_CASE("each way the test guest can end has a text of its own") {
    std::set<std::string> found;
    for (const GuestEnd end :
         {GuestEnd::kDone, GuestEnd::kWrongResult, GuestEnd::kException, GuestEnd::kInternalError,
          GuestEnd::kTripleFault, GuestEnd::kEntryFailed, GuestEnd::kUnexpectedExit, GuestEnd::kTimeLimit,
          GuestEnd::kUnstoppable, GuestEnd::kNotStarted}) {
        const Check check = judge_guest({.end = end, .step = GuestStep::kXsave, .error = "no memory"});
        CHECK((check.status == Status::kOk) == (end == GuestEnd::kDone));
        check_form(check);
        if (end != GuestEnd::kDone && end != GuestEnd::kNotStarted) CHECK(contains(check.found, "xsave"));
        found.insert(check.found);
    }
    CHECK(found.size() == 10);
}

TEST_CASE("a KVM that emulates ring 0 is named as such") {
    const Check check = judge_guest({.end = GuestEnd::kInternalError,
                                     .step = GuestStep::kCmpxchg16b,
                                     .detail = KVM_INTERNAL_ERROR_EMULATION});
    CHECK(check.found ==
          "this KVM cannot run cmpxchg16b: internal error, suberror 1 (emulation failed: it emulates ring 0 "
          "instead of "
          "running it)");
}

TEST_CASE("io_uring fails only where rings cannot be had as the engine needs them") {
    const IoUringProbe good{.required_flags = true,
                            .required_features = true,
                            .single_issuer = true,
                            .defer_taskrun = true,
                            .multishot_poll = true,
                            .registered_files = true};
    CHECK(judge_io_uring(good).status == Status::kOk);
    check_form(judge_io_uring(good));
    IoUringProbe old = good;
    old.defer_taskrun = false;
    CHECK(judge_io_uring(old).status == Status::kWarn);
    CHECK(contains(judge_io_uring(old).found, "without DEFER_TASKRUN"));
    old.required_flags = false;
    CHECK(judge_io_uring(old).status == Status::kFail);
    check_form(judge_io_uring(old));
}

TEST_CASE("a kernel with the newer ring flags is seen to have the older features too") {
    const IoUringProbe probe = probe_io_uring();
    if (!probe.single_issuer) return;  // older than Linux 6.0, or forbidden here
    CHECK(probe.required_flags);
    CHECK(probe.required_features);
    CHECK(probe.multishot_poll);
    CHECK(probe.registered_files);
}

TEST_CASE("the advice for a refused io_uring follows its reason") {
    const auto advice = [](IoUringProbe probe) {
        const Check check = judge_io_uring(probe);
        CHECK(check.status == Status::kFail);
        check_form(check);
        return check.advice;
    };
    CHECK(contains(advice({.setup_error = EPERM, .disabled = 2}), "kernel.io_uring_disabled=0"));
    CHECK_FALSE(contains(advice({.setup_error = EPERM, .disabled = 2}), "io_uring_group"));
    CHECK(contains(advice({.setup_error = EPERM, .disabled = 1}), "io_uring_group"));
    CHECK(contains(advice({.setup_error = EPERM, .disabled = 0}), "seccomp"));
    CHECK(contains(advice({.setup_error = ENOMEM}), "ulimit -l"));
    CHECK(contains(advice({.setup_error = ENOSYS}), "CONFIG_IO_URING"));
}

TEST_CASE("userfaultfd needs one of its two ways") {
    CHECK(judge_userfaultfd({}).status == Status::kOk);
    CHECK(judge_userfaultfd({.syscall_error = EPERM}).found == "works by /dev/userfaultfd");
    CHECK(judge_userfaultfd({.device_error = ENOENT}).found == "works by system call");
    const Check refused =
        judge_userfaultfd({.syscall_error = EPERM, .device_error = EACCES, .unprivileged = 0});
    CHECK(refused.status == Status::kWarn);
    CHECK(contains(refused.found, "vm.unprivileged_userfaultfd = 0"));
    check_form(refused);
    CHECK(contains(judge_userfaultfd({.syscall_error = ENOSYS, .device_error = ENOENT}).advice,
                   "CONFIG_USERFAULTFD"));
}

TEST_CASE("free hugepages of any size are enough") {
    CHECK(judge_hugepages({}).status == Status::kWarn);
    check_form(judge_hugepages({}));
    const Check none = judge_hugepages({{2 * MiB, 4, 0}, {GiB, 0, 0}});
    CHECK(none.status == Status::kWarn);
    CHECK(none.found == "2 MiB: 0 of 4 free; 1 GiB: 0 of 0 free");
    CHECK(judge_hugepages({{2 * MiB, 0, 0}, {GiB, 2, 1}}).status == Status::kOk);
}

TEST_CASE("THP is judged by the setting for shared memory") {
    CHECK(judge_thp({.enabled = "never", .shmem_enabled = "advise"}).status == Status::kOk);
    CHECK(judge_thp({.enabled = "always", .shmem_enabled = "never"}).status == Status::kWarn);
    CHECK(judge_thp({.enabled = "always", .shmem_enabled = "deny"}).status == Status::kWarn);
    check_form(judge_thp({}));
    CHECK(judge_thp({}).status == Status::kWarn);
}

TEST_CASE("tap rights are the device, its features and CAP_NET_ADMIN") {
    const TapProbe good{.net_admin = true, .vnet_header = true, .multi_queue = true};
    CHECK(judge_tap(good).status == Status::kOk);
    for (TapProbe bad : {TapProbe{.open_error = ENOENT}, TapProbe{.open_error = EACCES},
                         TapProbe{.net_admin = true, .multi_queue = true},
                         TapProbe{.net_admin = false, .vnet_header = true, .multi_queue = true}}) {
        CHECK(judge_tap(bad).status == Status::kWarn);
        check_form(judge_tap(bad));
    }
    CHECK(judge_vhost_net(ENOENT).status == Status::kOk);
    CHECK(judge_vhost_net(ENOENT).found.find("modprobe vhost_net") != std::string::npos);
    CHECK(judge_vhost_net(0).status == Status::kOk);
}

TEST_CASE("confinement that is not there is a warning") {
    CHECK(judge_landlock(4).found == "ABI 4");
    CHECK(contains(judge_landlock(-EOPNOTSUPP).advice, "lsm="));
    CHECK(contains(judge_landlock(-ENOSYS).advice, "CONFIG_SECURITY_LANDLOCK"));
    CHECK(judge_seccomp({.filters = true}).status == Status::kOk);
    CHECK(judge_seccomp({.filters = false, .errno_value = EINVAL}).status == Status::kWarn);
    for (const Check& check : {judge_landlock(1), judge_landlock(-ENOSYS), judge_landlock(-EOPNOTSUPP),
                               judge_seccomp({.filters = false, .errno_value = EINVAL})})
        check_form(check);
}

TEST_CASE("limits warn when they are low") {
    CHECK(judge_locked_memory({}).found == "unlimited");
    CHECK(judge_locked_memory({.locked_memory = 8 * MiB}).status == Status::kOk);
    CHECK(judge_locked_memory({.locked_memory = 64 * KiB}).status == Status::kWarn);
    CHECK(judge_locked_memory({.locked_memory = 64 * KiB, .ipc_lock = true}).status == Status::kOk);
    CHECK(judge_open_files({}).status == Status::kOk);
    CHECK(judge_open_files({.open_files = 1024}).status == Status::kOk);
    CHECK(judge_open_files({.open_files = 1023}).status == Status::kWarn);
    check_form(judge_open_files({.open_files = 10}));
    check_form(judge_locked_memory({.locked_memory = 0}));
}

TEST_CASE("a choice in /sys is the word in brackets") {
    CHECK(chosen_word("always [madvise] never") == "madvise");
    CHECK(chosen_word("12") == "12");
    CHECK(chosen_word("] odd [") == "] odd [");
    CHECK(chosen_word("") == "");
}
