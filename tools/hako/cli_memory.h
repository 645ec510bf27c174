// --memory
#pragma once

#include <string_view>

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::cli {

/// "512M" or "size=2G,hugepages=on|off|2M|1G,thp=on|off,prefault=on|off".
Result<MemoryConfig> parse_memory(std::string_view text);

}  // namespace hako::cli
