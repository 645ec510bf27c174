// What a migration asks of the VM that arrives.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "migration/memory/memory_view.h"
#include "migration/memory/page_trap.h"
#include "migration/protocol/messages.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::migration {

struct ReceivedFd {
    std::string name;
    Fd fd;
};

/// What prepare() has built.
struct Prepared {
    MemoryView memory;  ///< the layout of HELLO, all zeros
    std::chrono::nanoseconds restore_cost{0};
};

/// The VM at the destination. Called by the migration's own thread.
class DestinationMachine {
  public:
    virtual ~DestinationMachine() = default;

    /// Builds all that needs no state: VM, memory, devices; opens images and takes their INTENT, not OWNER.
    /// Whatever can be refused is refused here. `fds`: of a local migration; memory is among them, or it is
    /// refused.
    virtual Result<Prepared> prepare(const Hello& hello, std::vector<ReceivedFd> fds) = 0;
    /// Postcopy, after prepare(): what makes those wait who touch a page that is still missing. An error says
    /// why this host cannot.
    virtual Result<std::unique_ptr<PageTrap>> trap_pages() = 0;
    /// Builds the rest. Memory still comes, and is not looked at.
    virtual Result<> load_state(std::span<const std::byte> state) = 0;
    /// Takes OWNER of every image, or of none.
    virtual Result<> acquire_locks() = 0;
    /// Reads the record, asks may_start(), writes the new one. Where there is no place for a record: nothing.
    virtual Result<> write_epoch_record(std::uint64_t epoch) = 0;
    /// Sees to it that no record says that this VM has run: it has not and will not. Nothing to do where none
    /// does. An error: one may.
    virtual Result<> withdraw_epoch_record(std::uint64_t epoch) = 0;
    /// The guest runs, or is as paused as it was at the source. An error: no vCPU has entered KVM_RUN. Says
    /// when the first instruction was.
    virtual Result<Stamp> run() = 0;
    /// Postcopy: vCPUs stand still soon after run(), and then go on. In that order, and without waiting for
    /// it: a vCPU may stand at a missing page, and so may run() itself.
    virtual void halt() = 0;
    virtual void go_on() = 0;
    /// Takes down whatever was built, and gives up all locks.
    virtual void discard() = 0;
};

}  // namespace hako::migration
