// `hako seed`: small disks without a VM.
#pragma once

#include "tools/hako/exit_code.h"
#include "tools/hako/seed_command.h"

namespace hako {

ExitCode run_seed(const cli::SeedCommand& command);

}  // namespace hako
