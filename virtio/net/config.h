// What a user says about one network interface.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "virtio/net/mac.h"
#include "vmm/io/rate_limiter.h"

namespace hako::virtio::net {

inline constexpr std::uint16_t kMaxQueuePairs = 8;

/// Bytes of frames, and frames; a frame that the receiver or the host is yet to segment counts as one. All
/// queues of a direction together.
struct Limits {
    io::RateLimits rx;  ///< to the guest: what is beyond waits in the tap, which drops what it cannot hold
    io::RateLimits tx;  ///< from the guest: what is beyond waits in the virtqueue

    bool operator==(const Limits&) const = default;
};

struct Config {
    std::string id;   ///< name in messages and, later, in the API: "_net0" when the user gave none
    std::string tap;  ///< the tap's name, also a pattern for a new one ("hako%d"); empty: `fds` or `socket`
    std::vector<int> fds;            ///< open taps handed over, one for each queue pair, or one stream socket
    std::string socket;              ///< path of a stream socket to connect to (passt), instead of taps
    bool vhost = false;              ///< the kernel's vhost-net serves the queues of the taps
    std::optional<Mac> mac;          ///< unset: default_mac()
    std::uint16_t mtu = 0;           ///< told to the driver, 68 to 65535; 0: not told
    std::uint16_t queue_pairs = 1;   ///< 1 to kMaxQueuePairs
    std::uint16_t queue_size = 256;  ///< of each receive and transmit queue: a power of two, 16 to 1024
    Limits limits;
    std::uint16_t pci_segment = 0;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::virtio::net
