// Takes a snapshot: of a paused VM, or of one that runs on.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "migration/memory/page_bits.h"
#include "migration/snapshot/folder.h"
#include "migration/source_machine.h"
#include "vmm/base/result.h"

namespace hako::migration {

struct SnapshotConfig {
    std::string folder;
    std::string config;  ///< text of config.json
    /// The guest runs while its memory is written, and is paused only for its state and for what it wrote
    /// meanwhile. Otherwise it is paused all the time.
    bool live = false;
};

/// What came of it.
struct SnapshotOutcome {
    std::uint64_t pause_ns = 0;  ///< the guest stood still; of a VM that its user had paused: 0
    std::uint64_t bytes = 0;     ///< written to the memory file
    std::uint32_t rounds = 0;    ///< in which memory was written
};

/// run() is called once, on a thread of its own; the others on any.
class Snapshot {
  public:
    /// The machine outlives it.
    Snapshot(SnapshotConfig config, SourceMachine& machine)
        : config_(std::move(config)), folder_(config_.folder), machine_(machine) {}

    /// Whatever happens, the VM goes on as it was; what there is of a snapshot that failed is removed.
    Result<SnapshotOutcome> run();
    /// Asks for an end. Too late once the state is written.
    void cancel() { cancelled_ = true; }

  private:
    Result<SnapshotOutcome> write();
    Result<> write_live(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome);
    Result<> write_standing(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome);
    Result<> write_round(MemoryWriter& writer, const PageBits& bits, bool clear);
    [[nodiscard]] Result<> check_cancelled() const;
    [[nodiscard]] std::uint64_t file_offset(std::size_t region) const;

    const SnapshotConfig config_;
    const SnapshotFolder folder_;
    SourceMachine& machine_;
    std::atomic<bool> cancelled_{false};
};

}  // namespace hako::migration
