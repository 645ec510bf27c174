// Takes a snapshot: of a paused VM, or of one that runs on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "migration/memory/page_bits.h"
#include "migration/snapshot/changes.h"
#include "migration/snapshot/disk_copies.h"
#include "migration/snapshot/folder.h"
#include "migration/source_machine.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// What becomes of the log of writes.
enum class Tracking {
    kAsItIs,
    kBegin,  ///< it goes on from this snapshot, which a later one may be based on
    kEnd,    ///< it ends: it costs the guest a fault for each page that it writes again
};

struct SnapshotConfig {
    std::string folder;
    std::string config;  ///< text of config.json
    /// The guest runs while its memory is written, and is paused only for its state and for what it wrote
    /// meanwhile. Otherwise it is paused all the time.
    bool live = false;
    /// The folder of the snapshot since which writes are logged: only what was written since is saved.
    std::optional<std::string> base;
    Tracking tracking = Tracking::kAsItIs;
    std::vector<DiskCopy> disks;  ///< to be copied in the same moment
    /// How long the guest may wait for that, milliseconds; then there is no snapshot.
    std::uint32_t hold_ms = 10'000;
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
    /// The machine outlives it. `changes`: what is known of its log of writes, if there is one.
    Snapshot(SnapshotConfig config, SourceMachine& machine, std::optional<Changes> changes = std::nullopt)
        : config_(std::move(config)),
          folder_(config_.folder),
          machine_(machine),
          changes_(std::move(changes)),
          id_(new_snapshot_id()) {}

    /// Whatever happens, the VM goes on as it was; what there is of a snapshot that failed is removed, and
    /// what it knows of writes is not lost.
    Result<SnapshotOutcome> run();
    /// Asks for an end. Too late once the state is written.
    void cancel() { cancelled_ = true; }
    /// After run(): what is known of the log of writes now, if there is one.
    [[nodiscard]] std::optional<Changes> take_changes() { return std::move(changes_); }

  private:
    Result<SnapshotOutcome> write();
    Result<> write_live(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome);
    Result<> write_standing(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome);
    Result<> write_round(MemoryWriter& writer, const PageBits& bits, bool clear);
    Result<std::optional<PageChecksums>> base_checksums() const;
    Result<PageBits> first_pages();
    Result<> open_disks();
    Result<> copy_disks(std::chrono::steady_clock::time_point begin);
    Result<> fetch(PageBits& bits);
    Result<> clear(const PageBits& bits);
    Result<> begin_tracking();
    void settle_tracking(bool done);
    [[nodiscard]] FileBits written() const;
    [[nodiscard]] Result<> check_cancelled() const;
    [[nodiscard]] std::uint64_t file_offset(std::size_t region) const;

    const SnapshotConfig config_;
    const SnapshotFolder folder_;
    SourceMachine& machine_;
    std::optional<Changes> changes_;
    const SnapshotId id_;
    DiskCopies disks_;
    PageBits fetched_;  ///< what the log may not say any more
    PageBits written_;  ///< pages that are in the file, or left out as zeros
    std::atomic<bool> cancelled_{false};
};

}  // namespace hako::migration
