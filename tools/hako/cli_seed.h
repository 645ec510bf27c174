// --cloud-init
#pragma once

#include <string_view>

#include "tools/hako/cli_command.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// "USER[,META[,NETWORK]]", or with keys: "user-data=PATH,network-config=PATH".
Result<SeedPaths> parse_seed_paths(std::string_view text);

}  // namespace hako::cli
