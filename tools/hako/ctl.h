// `hako ctl`: the REST API from a command line.
#pragma once

#include "tools/hako/cli_command.h"
#include "tools/hako/exit_code.h"

namespace hako {

/// 0: done; 1: the VMM cannot be reached, or answers with 5xx; 2: bad input, or an answer of 4xx.
ExitCode control(const cli::CtlCommand& command);

}  // namespace hako
