#include "tools/hako/snapshot_merge.h"

#include <fmt/core.h>

#include "migration/snapshot/merge.h"
#include "vmm/base/units.h"

namespace hako {

ExitCode merge_snapshots(const cli::SnapshotCommand& command) {
    const auto merged = migration::merge_snapshots(command.folders, command.out);
    if (!merged) {
        fmt::print(stderr, "{}", cli::error_line(merged.error()));
        return exit_code(merged.error().fault());
    }
    fmt::print("{}: {} of memory, {} bytes of them from differential snapshots, the others {}\n", command.out,
               format_size(merged->memory), merged->copied,
               merged->shared ? "shared with the first" : "copied");
    return ExitCode::kPowerOff;
}

}  // namespace hako
