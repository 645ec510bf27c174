// `hako run`: one VM from the command line, from start to exit code.
#pragma once

#include "tools/hako/cli_command.h"
#include "tools/hako/exit_code.h"

namespace hako {

/// Runs the VM until it ends, or with --check only looks at the input. Says on stderr how it ended.
ExitCode run_machine(const cli::RunCommand& command);

}  // namespace hako
