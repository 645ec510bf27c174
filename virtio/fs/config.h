// What a user says about a shared directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "virtio/queue.h"

namespace hako::virtio::fs {

/// Of the tag, bytes (virtio 1.3, 5.11.4).
inline constexpr std::size_t kMaxTag = 36;
/// Of the socket: what fits into sun_path.
inline constexpr std::size_t kMaxSocketPath = 107;
/// Of request queues.
inline constexpr std::uint16_t kMaxQueues = 8;
inline constexpr std::uint16_t kMinQueueSize = 16;

struct Config {
    std::string id;            ///< name in messages and in the API: "_fs0" when the user gave none
    std::string tag;           ///< by which the guest mounts it, 1 to kMaxTag bytes
    std::string socket;        ///< where the daemon (virtiofsd) listens
    std::uint16_t queues = 1;  ///< request queues, 1 to kMaxQueues
    std::uint16_t queue_size =
        kMaxQueueSize;  ///< of each queue: a power of two, kMinQueueSize to kMaxQueueSize
    std::uint16_t pci_segment = 0;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::virtio::fs
