// A virtqueue as vhost wants it told: by addresses of the process that owns the memory.
#pragma once

// virtio_ring.h has inline functions that are C, not C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/vhost_types.h>

#include "virtio/device.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio {

/// The rings in hako's mapping for VHOST_SET_VRING_ADDR, or an error if they are not all in guest memory.
[[nodiscard]] Result<vhost_vring_addr> vhost_ring_addresses(GuestMemory& memory, unsigned index,
                                                            const QueueConfig& config);

/// Where a ring stands that another serves: `next_avail` is its word, and the used index is what the driver
/// sees, since there is no other.
[[nodiscard]] QueuePosition vhost_ring_position(const GuestMemory& memory, GuestAddress used_ring,
                                                std::uint16_t next_avail);

}  // namespace hako::virtio
