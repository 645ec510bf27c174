// `hako serve`: a process that waits for a client to make its VM.
#pragma once

#include "tools/hako/cli_command.h"
#include "tools/hako/exit_code.h"

namespace hako {

/// Until vmm.shutdown or a signal, or what else ends it. Says on stderr what went wrong, if something did.
ExitCode serve(const cli::ServeCommand& command);

}  // namespace hako
