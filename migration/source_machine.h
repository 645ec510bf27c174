// What a migration asks of the VM that leaves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "migration/disk/blocks.h"
#include "migration/epoch_record.h"
#include "migration/memory/memory_view.h"
#include "migration/memory/page_bits.h"
#include "migration/memory/page_sender.h"
#include "migration/protocol/messages.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// What the destination learns before it agrees.
struct Description {
    Uuid uuid{};
    std::uint64_t epoch = 0;  ///< a new one for each attempt, higher than any before
    Blob config;
    Blob cpu;
    std::uint64_t state_bytes = 0;  ///< about what save_state() will give
    std::vector<DiskShape> disks;   ///< that move along
};

/// A descriptor that a local migration hands over; the VM keeps it too.
struct NamedFd {
    std::string name;
    int fd = -1;
};

/// The VM at the source. Called by the migration's own thread, clear_dirty() by the connections' too. What
/// fails leaves the VM as it was.
class SourceMachine : public DirtyLogClearer {
  public:
    virtual Result<Description> describe() = 0;
    /// Stays as it is until the migration is over.
    virtual const MemoryView& memory() = 0;
    /// Local: what is handed over, memory first.
    virtual std::vector<NamedFd> fds() = 0;

    /// From now on writes are logged, those of devices too, and those to disks that move along.
    virtual Result<> start_dirty_tracking() = 0;
    virtual void stop_dirty_tracking() = 0;
    /// Once writes are logged: pages that may be other than zeros.
    virtual Result<PageBits> touched() { return make_bits(memory().layout, true); }
    /// Sets the bits of pages written since they were last fetched (or cleared, where the log has to be).
    virtual Result<> fetch_dirty(PageBits& bits) = 0;
    /// The same of blocks of the disks that move along, in describe()'s order. An error: a disk is not as it
    /// was described.
    virtual Result<> fetch_dirty_blocks(BlockBits& /*bits*/) { return {}; }
    /// vCPUs lose this share of their time; 0: none.
    virtual void throttle(unsigned percent) = 0;

    /// No guest instruction and no request is under way when it returns, and images are flushed. Says when
    /// the last instruction was.
    virtual Result<Stamp> pause() = 0;
    /// A disk's image, open for reading. After pause() it holds all that the guest wrote.
    virtual Result<Fd> image(const std::string& id) { return fail_missing("there is no disk {}", id); }
    /// As it was before pause(): a VM that its user had paused stays so.
    virtual Result<> resume() = 0;
    /// Of a paused VM. May write guest memory; that is logged.
    virtual Result<Blob> save_state() = 0;

    /// Gives up OWNER of every image that the destination takes over. Those of disks that move along stay
    /// locked: what is in them is of the past once the VM runs there.
    virtual Result<> release_locks() = 0;
    /// Takes OWNER of every image, or of none: one attempt. Nothing to do where they are held.
    virtual Result<> acquire_locks() = 0;
    /// An error: there is no place for a record, or it cannot be read.
    virtual Result<std::optional<EpochRecord>> read_epoch_record() = 0;
    virtual Result<> write_epoch_record(const EpochRecord& record) = 0;
};

}  // namespace hako::migration
