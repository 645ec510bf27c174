// `hako snapshot merge`: one full snapshot of a full one and differential ones.
#pragma once

#include "tools/hako/cli_command.h"
#include "tools/hako/exit_code.h"

namespace hako {

/// Says on stdout what it did, or one line on stderr. Touches no KVM.
ExitCode merge_snapshots(const cli::SnapshotCommand& command);

}  // namespace hako
