#include "tools/hako/doctor_memory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "tools/hako/doctor_file.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/base/units.h"

namespace hako::doctor {

UserfaultfdProbe probe_userfaultfd() {
    UserfaultfdProbe probe;
    probe.unprivileged = read_number("/proc/sys/vm/unprivileged_userfaultfd");
    // Not UFFD_USER_MODE_ONLY: guest memory is also touched by KVM and io_uring, in the kernel.
    const Fd by_syscall(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    if (!by_syscall.valid()) probe.syscall_error = errno;
    const Fd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    if (!device.valid()) {
        probe.device_error = errno;
        return probe;
    }
    const Fd by_device(::ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
    if (!by_device.valid()) probe.device_error = errno;
    return probe;
}

Check judge_userfaultfd(const UserfaultfdProbe& probe) {
    Check check{.name = "userfaultfd", .status = Status::kOk, .found = {}, .advice = {}};
    const bool by_syscall = probe.syscall_error == 0;
    const bool by_device = probe.device_error == 0;
    if (by_syscall || by_device) {
        check.found = fmt::format("works by {}", by_syscall && by_device ? "system call and /dev/userfaultfd"
                                                 : by_syscall            ? "system call"
                                                                         : "/dev/userfaultfd");
        return check;
    }
    check.status = Status::kWarn;
    check.found = fmt::format("refused: {}; /dev/userfaultfd: {}", errno_text(probe.syscall_error),
                              errno_text(probe.device_error));
    if (probe.unprivileged)
        check.found += fmt::format("; vm.unprivileged_userfaultfd = {}", *probe.unprivileged);
    check.advice =
        probe.syscall_error == ENOSYS
            ? "only postcopy migration and lazy restore need it: use a kernel with CONFIG_USERFAULTFD"
            : "only postcopy migration and lazy restore need it: give this user access to /dev/userfaultfd, "
              "or as root: sysctl -w vm.unprivileged_userfaultfd=1";
    return check;
}

std::vector<HugepagePool> probe_hugepages() {
    constexpr std::string_view kPrefix = "hugepages-";
    std::vector<HugepagePool> pools;
    std::error_code error;
    for (std::filesystem::directory_iterator entry("/sys/kernel/mm/hugepages", error), end;
         !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename();
        if (!name.starts_with(kPrefix)) continue;
        HugepagePool pool;
        const char* number = name.data() + kPrefix.size();
        std::from_chars(number, name.data() + name.size(), pool.page_size);
        pool.page_size *= KiB;
        pool.total = read_number(entry->path() / "nr_hugepages").value_or(0);
        pool.free = read_number(entry->path() / "free_hugepages").value_or(0);
        pools.push_back(pool);
    }
    std::sort(pools.begin(), pools.end(),
              [](const auto& a, const auto& b) { return a.page_size < b.page_size; });
    return pools;
}

Check judge_hugepages(const std::vector<HugepagePool>& pools) {
    Check check{.name = "hugepages", .status = Status::kWarn, .found = {}, .advice = {}};
    if (pools.empty()) {
        check.found = "this kernel has none";
        check.advice = "only --memory hugepages=on needs them: use a kernel with CONFIG_HUGETLBFS";
        return check;
    }
    std::vector<std::string> texts;
    for (const HugepagePool& pool : pools) {
        texts.push_back(fmt::format("{}: {} of {} free", format_size(pool.page_size), pool.free, pool.total));
        if (pool.free > 0) check.status = Status::kOk;
    }
    check.found = fmt::format("{}", fmt::join(texts, "; "));
    if (check.status != Status::kOk)
        check.advice =
            "only --memory hugepages=on needs them: reserve some as root, e.g. 512 of 2 MiB: sysctl -w "
            "vm.nr_hugepages=512";
    return check;
}

ThpProbe probe_thp() {
    const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
    return {.enabled = chosen_word(read_line(folder + "enabled").value_or("")),
            .shmem_enabled = chosen_word(read_line(folder + "shmem_enabled").value_or(""))};
}

Check judge_thp(const ThpProbe& probe) {
    Check check{.name = "THP", .status = Status::kWarn, .found = {}, .advice = {}};
    if (probe.shmem_enabled.empty()) {
        check.found = "this kernel has no transparent huge pages for shared memory";
        check.advice =
            "guest memory uses 4 KiB pages; a kernel with CONFIG_TRANSPARENT_HUGEPAGE serves it faster";
        return check;
    }
    check.found = fmt::format("shmem_enabled is {}, enabled is {}", probe.shmem_enabled, probe.enabled);
    if (probe.shmem_enabled == "never" || probe.shmem_enabled == "deny") {
        check.advice =
            "guest memory uses 4 KiB pages; for larger ones as root: echo advise > "
            "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
        return check;
    }
    check.status = Status::kOk;
    return check;
}

}  // namespace hako::doctor
