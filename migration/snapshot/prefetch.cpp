#include "migration/snapshot/prefetch.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "vmm/base/log.h"
#include "vmm/memory/pagemap.h"

namespace hako::migration {
namespace {

/// Between two looks at whether it is to end.
constexpr std::uint64_t kPiece = 2 * MiB;

std::uint64_t pages_of(const std::vector<MemoryRegion>& regions) {
    return (regions.back().file_offset + regions.back().size) / kPageSize;
}

}  // namespace

Prefetch::Prefetch(const GuestMemory& memory, std::string folder, const SnapshotId& id,
                   std::chrono::milliseconds record_after)
    : regions_(memory.regions().begin(), memory.regions().end()),
      folder_(std::move(folder)),
      id_(id),
      record_after_(record_after) {
    thread_ = std::thread([this] {
        ::pthread_setname_np(::pthread_self(), "hako_prefetch");
        work();
    });
}

Prefetch::~Prefetch() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Prefetch::guest_runs() {
    {
        const std::lock_guard lock(mutex_);
        runs_ = true;
    }
    changed_.notify_one();
}

bool Prefetch::stopped() const {
    const std::lock_guard lock(mutex_);
    return stop_;
}

void Prefetch::work() {
    if (const auto set = read_working_set(folder_, id_, pages_of(regions_))) return fetch(*set);
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stop_ || runs_; });
        if (changed_.wait_for(lock, record_after_, [this] { return stop_; })) return;
    }
    // A folder that this user may not write has none.
    if (const auto written = write_working_set(folder_, touched()); !written)
        log_debug("what the guest needed first is not noted: {}", written.error().text());
}

void Prefetch::fetch(const WorkingSet& set) {
    std::uint64_t left = kMaxBytes;
    for (const WorkingRun& run : set.runs) {
        const std::uint64_t begin = run.first * kPageSize;
        const std::uint64_t end = begin + run.pages * kPageSize;
        for (const MemoryRegion& region : regions_) {
            const std::uint64_t to = std::min(end, region.file_offset + region.size);
            for (std::uint64_t at = std::max(begin, region.file_offset); at < to;) {
                const std::uint64_t length = std::min({kPiece, to - at, left});
                if (length == 0 || stopped()) return;
                // Brings pages in as a fault would, and changes none: what the guest wrote stays.
                std::byte* const host = region.host + (at - region.file_offset);
                if (::madvise(host, length, run.written ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) != 0)
                    return;
                at += length;
                left -= length;
            }
        }
    }
}

/// In the order of the file, which is the order in which storage gives pages best.
WorkingSet Prefetch::touched() const {
    WorkingSet set{.id = id_, .runs = {}};
    const Result<Pagemap> pagemap = Pagemap::open();
    std::vector<PageEntry> entries(MiB / kPageSize);
    for (const MemoryRegion& region : regions_) {
        for (std::uint64_t offset = 0; offset < region.size; offset += MiB) {
            if (stopped() || !pagemap || !pagemap->read(region.host + offset, entries)) return set;
            for (std::size_t i = 0; i < entries.size(); ++i) {
                if (!entries[i].present()) continue;
                const std::uint64_t page = (region.file_offset + offset) / kPageSize + i;
                const bool written = entries[i].own();
                WorkingRun* const last = set.runs.empty() ? nullptr : &set.runs.back();
                if (last != nullptr && last->first + last->pages == page && last->written == written)
                    ++last->pages;
                else if (set.runs.size() < WorkingSet::kMaxRuns)
                    set.runs.push_back({.first = page, .pages = 1, .written = written});
            }
        }
    }
    return set;
}

}  // namespace hako::migration
