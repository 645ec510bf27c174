// Limits of this process that a VM may meet.
#pragma once

#include <cstdint>
#include <optional>

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

/// A soft limit of getrlimit(2); nothing: unlimited.
using Limit = std::optional<std::uint64_t>;

struct LimitsProbe {
    Limit locked_memory;    ///< bytes
    bool ipc_lock = false;  ///< CAP_IPC_LOCK: locked_memory does not count
    Limit open_files;
};
LimitsProbe probe_limits();
Check judge_locked_memory(const LimitsProbe& probe);
Check judge_open_files(const LimitsProbe& probe);

}  // namespace hako::doctor
