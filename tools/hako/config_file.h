// --config: a VM in a file, as vm.create takes it.
#pragma once

#include <string>

#include "api/schema/vm.h"
#include "vmm/base/result.h"

namespace hako {

/// Reads a VmConfig of at most 4 MiB of JSON; its devices have their ids. What is wrong with it is the user's
/// fault, and told with the path.
Result<api::VmConfig> read_config_file(const std::string& path);

}  // namespace hako
