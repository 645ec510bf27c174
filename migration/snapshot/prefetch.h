// Fetches what a restored guest is about to need, or notes what it needed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "migration/snapshot/working_set.h"
#include "vmm/memory/attendant.h"
#include "vmm/memory/guest_memory.h"

namespace hako::migration {

/// Of memory that is mapped from a snapshot. Where the snapshot has a working set, its pages are brought into
/// the page table at once, by a thread that ends then; otherwise that thread waits until the guest has run
/// for a while, and writes down the pages that it touched.
class Prefetch final : public MemoryAttendant {
  public:
    /// Bytes that are fetched, at most.
    static constexpr std::uint64_t kMaxBytes = GiB;
    /// How long a guest runs before what it touched is noted.
    static constexpr std::chrono::seconds kRecordAfter{10};

    /// `folder`: of the snapshot with that id. `memory` will own this.
    Prefetch(const GuestMemory& memory, std::string folder, const SnapshotId& id,
             std::chrono::milliseconds record_after = kRecordAfter);
    ~Prefetch() override;

    void guest_runs() override;

  private:
    void work();
    void fetch(const WorkingSet& set);
    [[nodiscard]] WorkingSet touched() const;
    [[nodiscard]] bool stopped() const;

    const std::vector<MemoryRegion> regions_;
    const std::string folder_;
    const SnapshotId id_;
    const std::chrono::milliseconds record_after_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool runs_ = false;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace hako::migration
