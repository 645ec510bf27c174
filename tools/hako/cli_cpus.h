// --cpus.
#pragma once

#include <string_view>

#include "vmm/base/result.h"
#include "vmm/machine/config.h"

namespace hako::cli {

/// "2", "count=2,max=8".
Result<CpuConfig> parse_cpus(std::string_view text);

}  // namespace hako::cli
