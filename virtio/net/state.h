// The migratable state of a network device: what its driver saw and chose.
#pragma once

#include <cstdint>

#include "virtio/net/mac.h"
#include "vmm/state/fields.h"

namespace hako::virtio::net {

struct State {
    std::uint64_t features = 0;  ///< offered
    Mac mac{};
    std::uint16_t mtu = 0;             ///< as shown to the driver; 0: not shown
    bool link_up = true;               ///< configuration field `status`
    bool announce = false;             ///< there too: the driver has not answered yet
    std::uint16_t queue_pairs = 1;     ///< in use (VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
    Mac used_mac{};                    ///< that the driver uses (VIRTIO_NET_CTRL_MAC_ADDR_SET), else `mac`
    bool promiscuous = false;          ///< VIRTIO_NET_CTRL_RX_PROMISC
    bool all_multicast = false;        ///< VIRTIO_NET_CTRL_RX_ALLMULTI
    std::uint64_t guest_offloads = 0;  ///< in use (VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET)

    bool operator==(const State&) const = default;
};

}  // namespace hako::virtio::net

namespace hako::state {

template <>
struct Fields<virtio::net::State> {
    using T = virtio::net::State;
    static constexpr auto list = std::tuple(
        hex("features", &T::features), field("mac", &T::mac), field("mtu", &T::mtu),
        field("link_up", &T::link_up), field("announce", &T::announce), field("queue_pairs", &T::queue_pairs),
        field("used_mac", &T::used_mac), field("promiscuous", &T::promiscuous),
        field("all_multicast", &T::all_multicast), hex("guest_offloads", &T::guest_offloads));
};

}  // namespace hako::state
