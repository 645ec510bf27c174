// Rate limits in the values of options.
#pragma once

#include <string_view>

#include "tools/hako/cli_key_values.h"
#include "vmm/base/result.h"
#include "vmm/io/rate_limiter.h"

namespace hako::cli {

/// bandwidth=SIZE/s and, with it, bandwidth_burst=SIZE. Leaves `rate` alone when neither was given; without a
/// burst a tenth of a second's worth goes at once.
Result<> read_bandwidth(const KeyValues& values, io::Rate& rate);

/// KEY=N a second and, with it, KEY_burst=N, as above.
Result<> read_operations(const KeyValues& values, std::string_view key, io::Rate& rate);

}  // namespace hako::cli
