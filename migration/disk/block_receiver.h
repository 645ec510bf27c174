// One connection's share of the disks that move along, on its way in.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "migration/disk/blocks.h"
#include "migration/disk/image_writer.h"
#include "migration/memory/counters.h"
#include "migration/transport/stream.h"

namespace hako::migration {

/// What the connections of a migration share.
struct BlockReceiverSetup {
    std::span<const std::unique_ptr<ImageWriter>> disks;  ///< in HELLO's order
    unsigned connections = 1;
    BlockBits& received;  ///< blocks that came at least once; each connection touches words of its own
    MemoryCounters& counters;
};

/// Used by one thread, the connection's. Takes no number on trust, and no block that is another connection's.
class BlockReceiver {
  public:
    BlockReceiver(const BlockReceiverSetup& setup, Stream& stream, unsigned index)
        : setup_(setup), stream_(stream), index_(index) {}

    /// Writes blocks that were announced, whose content comes now. What came is returned.
    Outcome<MemoryTotals> receive(const Blocks& blocks, const Wait& wait);

  private:
    [[nodiscard]] Outcome<> check(const Blocks& blocks) const;

    const BlockReceiverSetup setup_;
    Stream& stream_;
    const unsigned index_;
    std::vector<std::byte> content_;
};

}  // namespace hako::migration
