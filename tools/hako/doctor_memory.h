// What the host offers for guest memory: hugepages, THP, userfaultfd.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

struct UserfaultfdProbe {
    int syscall_error = 0;                     ///< errno of userfaultfd(2), or 0
    int device_error = 0;                      ///< errno of /dev/userfaultfd, or 0
    std::optional<std::int64_t> unprivileged;  ///< sysctl vm.unprivileged_userfaultfd
};
UserfaultfdProbe probe_userfaultfd();
Check judge_userfaultfd(const UserfaultfdProbe& probe);

/// Reserved hugetlbfs pages of one size.
struct HugepagePool {
    std::uint64_t page_size = 0;  ///< bytes
    std::int64_t total = 0;       ///< pages
    std::int64_t free = 0;        ///< pages
};
/// All sizes, smallest first.
std::vector<HugepagePool> probe_hugepages();
Check judge_hugepages(const std::vector<HugepagePool>& pools);

/// The settings in /sys/kernel/mm/transparent_hugepage; "" when they are not there.
struct ThpProbe {
    std::string enabled;        ///< for anonymous memory
    std::string shmem_enabled;  ///< for memfds, and so for guest memory
};
ThpProbe probe_thp();
Check judge_thp(const ThpProbe& probe);

}  // namespace hako::doctor
