#include "virtio/vhost_ring.h"

#include "virtio/queue.h"

namespace hako::virtio {

Result<vhost_vring_addr> vhost_ring_addresses(GuestMemory& memory, unsigned index,
                                              const QueueConfig& config) {
    // Lengths and alignment: checked as for any other queue.
    HAKO_TRY(Queue::create(memory, config, 0));
    const auto at = [&](GuestAddress address) {
        return static_cast<std::uint64_t>(
            reinterpret_cast<std::uintptr_t>(memory.writable_later(address, 1).value().data()));
    };
    vhost_vring_addr addresses{};
    addresses.index = index;
    addresses.desc_user_addr = at(config.descriptors);
    addresses.avail_user_addr = at(config.driver);
    addresses.used_user_addr = at(config.device);
    return addresses;
}

QueuePosition vhost_ring_position(const GuestMemory& memory, GuestAddress used_ring,
                                  std::uint16_t next_avail) {
    // struct virtq_used: flags, then idx (virtio 1.3, 2.7.8).
    const auto used = memory.load<std::uint16_t>(used_ring + 2);
    return {.next_avail = next_avail, .next_used = used.value_or(0)};
}

}  // namespace hako::virtio
