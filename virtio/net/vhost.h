// vhost-net: the kernel serves the two queues of a pair, from the driver's rings to the tap and back.
#pragma once

// virtio_ring.h has inline functions that are C, not C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/vhost.h>

#include <cstdint>
#include <vector>

#include "virtio/device.h"
#include "virtio/vhost_ring.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio::net {

/// What hako needs of vhost-net (VHOST_GET_FEATURES): all that it offers of what concerns the rings and the
/// header. The tap does the rest.
inline constexpr std::uint64_t kVhostFeatures = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                                                virtio::feature::kEventIdx | std::uint64_t{1} << 15;

/// What of the negotiated features goes to VHOST_SET_FEATURES. VHOST_NET_F_VIRTIO_NET_HDR never: the tap
/// has the header. VHOST_F_LOG_ALL is for live migration: it will be set while dirty pages are tracked,
/// because what vhost writes into guest memory GuestMemory's bitmap does not see.
[[nodiscard]] constexpr std::uint64_t vhost_features(std::uint64_t negotiated) {
    return negotiated & kVhostFeatures;
}

/// The regions for VHOST_SET_MEM_TABLE.
[[nodiscard]] std::vector<vhost_memory_region> vhost_regions(const GuestMemory& memory);

/// One open /dev/vhost-net: ring 0 receives, ring 1 transmits.
class Vhost {
  public:
    /// Opens it, becomes its owner and checks that it can do what hako needs.
    static Result<Vhost> open();

    /// For a driver that starts, before its queues.
    Result<> set_up(const GuestMemory& memory, std::uint64_t negotiated);
    /// When memory has come or gone.
    Result<> set_memory(const GuestMemory& memory);
    /// `ring`: 0 or 1. `kick` starts the kernel's work, `error` is signalled when the ring breaks the rules.
    Result<> set_up_queue(unsigned ring, GuestMemory& memory, const QueueConfig& config,
                          std::uint16_t next_avail, int kick, int error);
    /// The eventfd that the kernel signals for used buffers; -1: none.
    Result<> set_call(unsigned ring, int eventfd);
    /// Connects both rings to the tap; they are served from then on.
    Result<> start(int tap);
    /// Nothing is in flight when it returns.
    Result<> stop();
    /// VHOST_GET_VRING_BASE: the next available-ring index; stopped.
    [[nodiscard]] Result<std::uint16_t> next_avail(unsigned ring) const;

  private:
    explicit Vhost(Fd fd) : fd_(std::move(fd)) {}
    Result<> set_backend(unsigned ring, int tap);

    Fd fd_;
};

}  // namespace hako::virtio::net
