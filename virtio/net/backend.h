// What the queues of one network device share while they run.
#pragma once

#include <linux/fs.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "virtio/net/config.h"
#include "virtio/throttle.h"
#include "vmm/base/log.h"
#include "vmm/io/engine.h"

namespace hako::virtio::net {

/// One tap queue: where a receive queue reads and the transmit queue beside it writes. io thread only.
struct Pair {
    io::FileRef tap;  ///< by descriptor: see io::Engine::register_file()
    /// RWF_NOWAIT: io_uring gives EAGAIN instead of waiting itself. A kernel whose taps do not know it
    /// (before 6.4) answers EOPNOTSUPP, and then does not wait for a file that is O_NONBLOCK: 0.
    int rw_flags = RWF_NOWAIT;
    bool active = false;  ///< the driver uses it, and the tap's queue is attached
    bool gone = false;    ///< the tap was deleted
};

/// Where packets go. Made by the device.
struct Backend {
    std::string name;                   ///< of the tap or socket, for the log
    Throttle rx;                        ///< of all receive queues together
    Throttle tx;                        ///< of all transmit queues together
    std::atomic<bool> link_up{true};    ///< the user's word
    std::atomic<bool> carrier{true};    ///< false while a stream socket is not connected
    std::atomic<bool> announce{false};  ///< the driver is asked to tell the network where it is
    std::atomic<std::uint64_t> mac{0};  ///< that the driver uses: mac_bits()
    // Kept for the state only: a tap hands over all that its bridge sends there, and filtering is best-effort
    // (virtio 1.3, 5.1.6.5.1).
    std::atomic<bool> promiscuous{false};
    std::atomic<bool> all_multicast{false};
    std::atomic<std::uint16_t> queue_pairs{1};  ///< in use
    std::atomic<std::uint64_t> guest_offloads{0};

    // io thread only
    std::array<Pair, kMaxQueuePairs> pairs{};
    bool broken = false;  ///< a queue broke the rules: all stop until reset
    LogLimit log{};
};

}  // namespace hako::virtio::net
