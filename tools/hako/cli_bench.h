// The options of `hako bench`.
#pragma once

#include "tools/hako/bench_command.h"
#include "tools/hako/cli_app.h"
#include "vmm/base/result.h"

namespace hako::cli {

Result<bench::Command> bench_command(const App& app);

}  // namespace hako::cli
