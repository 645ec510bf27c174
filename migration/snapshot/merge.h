// Makes a full snapshot of a full one and those that follow it. Without a VM.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "vmm/base/result.h"

namespace hako::migration {

struct MergeOutcome {
    std::uint64_t memory = 0;  ///< bytes of guest memory
    std::uint64_t copied = 0;  ///< bytes of it that came from differential snapshots
    bool shared = false;       ///< the file system shares the rest with the first snapshot (FICLONE)
};

/// `folders`: at least two, oldest first. `out` is made, or is a folder without a snapshot; what it gets
/// holds the same moment as the last of `folders`, and has its id, so what is based on that one is based on
/// it. Every page is held against its checksum. On an error nothing is left in `out`.
Result<MergeOutcome> merge_snapshots(std::span<const std::string> folders, const std::string& out);

}  // namespace hako::migration
