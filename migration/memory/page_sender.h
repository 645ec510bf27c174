// One connection's share of guest memory, on its way out.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <vector>

#include "migration/memory/bandwidth.h"
#include "migration/memory/counters.h"
#include "migration/memory/memory_view.h"
#include "migration/memory/page_bits.h"
#include "migration/protocol/messages.h"
#include "migration/transport/stream.h"

namespace hako::migration {

/// Told which pages are about to be read, so that writes from now on are logged anew. Any thread.
class DirtyLogClearer {
  public:
    virtual ~DirtyLogClearer() = default;
    /// Pages [first, first + pages) of a region, both multiples of 64 unless the region ends there; `words`
    /// are their dirty bits. (KVM_CLEAR_DIRTY_LOG, Documentation/virt/kvm/api.rst 4.117)
    virtual Result<> clear_dirty(std::size_t region, std::uint64_t first, std::uint64_t pages,
                                 std::span<const std::uint64_t> words) = 0;
};

/// All that the connections of one migration share.
struct SenderSetup {
    const MemoryView& memory;
    unsigned connections = 1;
    BandwidthLimit& limit;
    MemoryCounters& counters;
    DirtyLogClearer& clearer;
    /// Of the first round: what is not in it is zeros and is not read, since a read would give it memory.
    /// Empty: all is read.
    const PageBits& touched;
    /// Once true, a round with a running guest ends early. Null: never.
    const std::atomic<bool>* cut = nullptr;
};

/// Used by one thread, the connection's.
class PageSender {
  public:
    PageSender(const SenderSetup& setup, Stream& stream, unsigned index)
        : setup_(setup), stream_(stream), index_(index) {}

    /// Sends the pages of `bits` that are this connection's, then ROUND. In the last round nothing is cleared
    /// (the guest is paused) and no limit holds. What was sent is returned, and its bits are clear then.
    Outcome<MemoryTotals> send_round(std::uint32_t round, bool last, PageBits& bits, const Wait& wait);

  private:
    Outcome<> send_chunk(std::size_t region, const PageRun& chunk, std::span<const std::uint64_t> words);
    Outcome<> add_run(std::size_t region, const PageRun& run);
    Outcome<> clear(std::size_t region, const PageRun& chunk, std::span<const std::uint64_t> words);
    [[nodiscard]] bool is_zero(std::size_t region, std::uint64_t page, const std::byte* content) const;
    Outcome<> flush();

    const SenderSetup setup_;
    Stream& stream_;
    const unsigned index_;

    // Of the round under way.
    bool first_ = false;
    bool last_ = false;
    Wait wait_;
    MemoryTotals sent_;

    // Of the frame that is being filled.
    Pages frame_;
    std::vector<std::span<std::byte>> contents_;
    std::uint64_t frame_pages_ = 0;
    std::vector<iovec> parts_;
};

}  // namespace hako::migration
