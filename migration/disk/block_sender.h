// One connection's share of the disks that move along, on its way out.
#pragma once

#include <optional>

#include "migration/disk/blocks.h"
#include "migration/disk/image_reader.h"
#include "migration/memory/bandwidth.h"
#include "migration/memory/counters.h"
#include "migration/transport/stream.h"

namespace hako::migration {

/// What the connections of a migration share.
struct BlockSenderSetup {
    std::span<const SourceDisk> disks;  ///< in HELLO's order
    unsigned connections = 1;
    BandwidthLimit& limit;
    MemoryCounters& counters;
};

/// Used by one thread, the connection's. Holes and blocks of zeros are told, not sent.
class BlockSender {
  public:
    BlockSender(const BlockSenderSetup& setup, Stream& stream, unsigned index)
        : setup_(setup), stream_(stream), index_(index) {}

    /// Sends the blocks of `bits` that are this connection's; their bits are clear then. Without a `limit`
    /// none holds. What was sent is returned.
    Outcome<MemoryTotals> send(BlockBits& bits, bool limit, const Wait& wait);

  private:
    Outcome<> send_run(std::size_t disk, const PageRun& run);
    Outcome<> send_data(std::size_t disk, const PageRun& run);
    Outcome<> send_frame(const Blocks& blocks, std::span<std::byte> content);

    const BlockSenderSetup setup_;
    Stream& stream_;
    const unsigned index_;
    std::optional<ImageReader> reader_;  ///< once there is something to read

    // Of the call under way.
    bool limit_ = false;
    Wait wait_;
    MemoryTotals sent_;
};

}  // namespace hako::migration
