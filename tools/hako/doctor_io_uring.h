// Whether io_uring works, and which of its features are there.
#pragma once

#include <cstdint>
#include <optional>

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

struct IoUringProbe {
    int setup_error = 0;                   ///< errno of a plain ring, or 0
    std::optional<std::int64_t> disabled;  ///< sysctl kernel.io_uring_disabled
    bool required_flags = false;           ///< COOP_TASKRUN, SUBMIT_ALL
    bool required_features = false;        ///< NODROP, SUBMIT_STABLE
    bool single_issuer = false;
    bool defer_taskrun = false;
    bool multishot_poll = false;    ///< seen to deliver twice
    bool registered_files = false;  ///< a sparse table
};

IoUringProbe probe_io_uring();
Check judge_io_uring(const IoUringProbe& probe);

}  // namespace hako::doctor
