// How much memory the host has: what is larger than that is refused before it is built.
#pragma once

#include <cstdint>
#include <string_view>

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// Bytes, as /proc/meminfo has them (proc(5)).
struct HostMemory {
    std::uint64_t total = 0;      ///< MemTotal and SwapTotal
    std::uint64_t available = 0;  ///< MemAvailable and SwapFree

    static Result<HostMemory> read();
    static HostMemory parse(std::string_view meminfo);
};

/// Refuses a VM that is larger than the host, or of which `filled` bytes are to be in memory at once and are
/// not free.
[[nodiscard]] Result<> check_fits(const MemoryConfig& config, std::uint64_t filled, const HostMemory& host);

}  // namespace hako
