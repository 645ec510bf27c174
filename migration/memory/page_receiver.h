// One connection's share of guest memory, and of disks that move along, on its way in.
#pragma once

#include <sys/uio.h>

#include <optional>
#include <vector>

#include "migration/disk/block_receiver.h"
#include "migration/memory/counters.h"
#include "migration/memory/memory_view.h"
#include "migration/memory/page_bits.h"
#include "migration/protocol/messages.h"
#include "migration/transport/stream.h"

namespace hako::migration {

/// All that the connections of one migration share.
struct ReceiverSetup {
    const MemoryView& memory;  ///< all zeros at first
    unsigned connections = 1;
    PageBits& received;  ///< pages that came at least once; each connection touches words of its own
    MemoryCounters& counters;
    std::span<const std::unique_ptr<ImageWriter>> disks = {};  ///< that move along
    BlockBits* blocks = nullptr;  ///< blocks that came at least once; null: no disk does
};

/// Used by one thread, the connection's. Takes no address on trust, and no page that is another connection's.
class PageReceiver {
  public:
    PageReceiver(const ReceiverSetup& setup, Stream& stream, unsigned index)
        : setup_(setup), stream_(stream), index_(index) {
        if (setup.blocks == nullptr) return;
        blocks_.emplace(BlockReceiverSetup{.disks = setup.disks,
                                           .connections = setup.connections,
                                           .received = *setup.blocks,
                                           .counters = setup.counters},
                        stream, index);
    }

    /// Writes pages into memory, and blocks to their disks, until ROUND, which must be of number `round` and
    /// say what came.
    Outcome<Round> receive_round(std::uint32_t round, const Wait& wait);

  private:
    Outcome<> receive_pages(const Pages& pages, const Wait& wait);
    [[nodiscard]] Outcome<PagePlace> check(const Run& run) const;
    void mark(const PagePlace& place, std::uint64_t pages);
    void make_zero(const PagePlace& place, std::uint64_t pages);

    const ReceiverSetup setup_;
    Stream& stream_;
    const unsigned index_;
    std::optional<BlockReceiver> blocks_;
    MemoryTotals round_;
    std::vector<iovec> parts_;
};

/// Makes whole pages zero, and gives back what holds them if that is much.
void erase_pages(std::span<std::byte> pages);

}  // namespace hako::migration
