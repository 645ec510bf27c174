// --fs
#pragma once

#include <span>
#include <string>
#include <vector>

#include "virtio/fs/config.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// The shared directories of all `--fs` options, in order; those without an id are "_fs0", "_fs1", … by
/// position. Whether daemons listen there is seen when the VM boots.
Result<std::vector<virtio::fs::Config>> parse_fs(std::span<const std::string> texts);

}  // namespace hako::cli
