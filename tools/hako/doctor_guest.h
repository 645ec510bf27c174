// A tiny guest that really executes: whether this KVM runs what kernels need, not only says that it would.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

/// What the guest was doing (doctor_guest_code.S counts these in its report).
enum class GuestStep : std::uint32_t {
    kLongMode = 0,
    kCmpxchg16b = 1,
    kXsave = 2,
    kApicTimer = 3,
    kDone = 4
};

enum class GuestEnd {
    kDone,            ///< it did all its steps
    kWrongResult,     ///< an instruction ran and gave a wrong result
    kException,       ///< detail: the vector
    kInternalError,   ///< KVM_EXIT_INTERNAL_ERROR; detail: KVM's suberror
    kTripleFault,     ///< KVM_EXIT_SHUTDOWN
    kEntryFailed,     ///< KVM_EXIT_FAIL_ENTRY; detail: the hardware's reason
    kUnexpectedExit,  ///< detail: the exit reason
    kTimeLimit,       ///< it was stopped when its time was over
    kUnstoppable,     ///< the same, and its thread did not come back from KVM_RUN
    kNotStarted,      ///< the VM could not be set up or run; error says why
};

struct GuestRun {
    GuestEnd end = GuestEnd::kNotStarted;
    GuestStep step = GuestStep::kLongMode;  ///< the last that was begun
    std::uint64_t detail = 0;
    std::string error;
    std::chrono::milliseconds time_limit{};
    std::chrono::microseconds duration{};  ///< from the first KVM_RUN to the end
};

/// Runs the guest on a thread of its own, for at most `time_limit` and a little.
GuestRun run_test_guest(std::chrono::milliseconds time_limit);

/// The verdict on a run.
Check judge_guest(const GuestRun& run);

}  // namespace hako::doctor
