// What a VM costs its host: CPU time, system calls, exits to KVM.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::bench {

struct CpuTime {
    std::chrono::microseconds total{};  ///< all threads, those that ended too
    std::chrono::microseconds guest{};  ///< of these, in the guest; as the clock tick found it

    bool operator==(const CpuTime&) const = default;
};
CpuTime operator+(CpuTime a, CpuTime b);
CpuTime operator-(CpuTime a, CpuTime b);

/// Reads the text of /proc/PID/stat (proc(5)), `ticks` being those of a second.
std::optional<CpuTime> parse_stat(std::string_view text, long ticks);

/// Of the process and the kernel threads that vhost gave it.
Result<CpuTime> cpu_time(::pid_t pid);

/// Events of all threads of a process, those that it starts later too, counted by perf_event_open(2).
class EventCounter {
  public:
    /// `event`: a tracepoint such as "raw_syscalls/sys_enter". Fails without the right to count it.
    static Result<EventCounter> start(::pid_t pid, std::string_view event);
    Result<std::uint64_t> count() const;

  private:
    std::vector<Fd> threads_;
};

}  // namespace hako::bench
