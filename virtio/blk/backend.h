// What the queues of one block device share while they run.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "virtio/blk/dirty_blocks.h"
#include "virtio/blk/disk.h"
#include "virtio/throttle.h"
#include "vmm/io/engine.h"

namespace hako::virtio::blk {

inline constexpr std::size_t kSerialLength = 20;  ///< VIRTIO_BLK_ID_BYTES

/// Where requests go. Made by the device; the flags below `io thread only` are its queues' common memory.
struct Backend {
    Throttle throttle;                           ///< of all queues together
    Clock now = std::chrono::steady_clock::now;  ///< for latencies
    io::FileRef buffered{};
    io::FileRef direct{};  ///< valid if has_direct
    bool has_direct = false;
    DirectAlignment alignment{};  ///< of requests to `direct`
    bool readonly = false;
    std::uint32_t max_segments = 0;  ///< data segments in a request, VIRTIO_BLK_F_SEG_MAX
    std::array<std::byte, kSerialLength> serial{};

    std::atomic<std::uint64_t> capacity{0};  ///< 512-byte sectors
    std::atomic<bool> writeback{true};       ///< the driver may rely on a cache until it flushes

    // io thread only
    bool broken = false;      ///< a queue broke the rules: all stop until reset
    bool gone = false;        ///< the image was taken away: requests fail
    bool can_discard = true;  ///< until the file refuses it
    bool can_zero_range = true;
    bool can_punch_hole = true;
    DirtyBlocks* dirty = nullptr;  ///< while a copy of the disk is made
};

}  // namespace hako::virtio::blk
