// The kernel command line in guest memory.
#pragma once

#include <cstdint>
#include <string_view>

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// Writes `text` and a NUL at layout::kCommandLine. `limit`: the longest text, in bytes without the NUL, that
/// the kernel takes; the room there is layout::kCommandLineMax.
Result<> write_command_line(GuestMemory& memory, std::string_view text, std::uint64_t limit);

}  // namespace hako::boot
