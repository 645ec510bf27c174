// `hako state show`: a saved state as JSON.
#pragma once

#include "tools/hako/cli_command.h"
#include "tools/hako/exit_code.h"

namespace hako {

/// Prints it on stdout, or one line on stderr. Touches no KVM.
ExitCode show_state(const cli::StateCommand& command);

}  // namespace hako
