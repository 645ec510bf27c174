// The disks that the command line makes of the host's files: read, checked and described.
#pragma once

#include <optional>
#include <vector>

#include "tools/hako/seed_command.h"
#include "vmm/base/result.h"
#include "vmm/seed/config.h"
#include "vmm/seed/disk.h"
#include "vmm/seed/helper.h"

namespace hako {

Result<seed::Config> read_seed(const cli::SeedPaths& paths);
Result<seed::DiskConfig> read_helper(const cli::HelperFolder& helper);

/// cloud-init's disk first.
Result<std::vector<seed::Helper>> build_helpers(const std::optional<cli::SeedPaths>& cloud_init,
                                                const std::vector<cli::HelperFolder>& helpers);

}  // namespace hako
