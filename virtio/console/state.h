// The migratable state of a console device: how far it and its driver got with each port.
#pragma once

#include <cstdint>
#include <vector>

#include "virtio/console/config.h"
#include "vmm/state/fields.h"

namespace hako::virtio::console {

/// Control messages that a port is still to send to the driver (virtio 1.3, 5.3.6.2), in the order in which
/// they go out. Each tells how things stand when it goes.
namespace message {
inline constexpr std::uint8_t kAdd = 1;
inline constexpr std::uint8_t kConsole = 2;
inline constexpr std::uint8_t kName = 4;
inline constexpr std::uint8_t kOpen = 8;
inline constexpr std::uint8_t kResize = 16;
inline constexpr std::uint8_t kAll = 31;
}  // namespace message

struct PortState {
    bool added = false;          ///< the driver was told of the port
    bool ready = false;          ///< and has set it up
    bool guest_open = false;     ///< somebody in the guest has it open
    std::uint8_t pending = 0;    ///< message:: bits
    std::uint32_t tx_taken = 0;  ///< bytes already taken of the chain that the transmit queue gives next

    bool operator==(const PortState&) const = default;
};

struct State {
    std::uint64_t features = 0;  ///< offered
    std::vector<PortState> ports;

    bool operator==(const State&) const = default;
};

}  // namespace hako::virtio::console

namespace hako::state {

template <>
struct Fields<virtio::console::PortState> {
    using T = virtio::console::PortState;
    static constexpr auto list =
        std::tuple(field("added", &T::added), field("ready", &T::ready), field("guest_open", &T::guest_open),
                   hex("pending", &T::pending), field("tx_taken", &T::tx_taken));
};

template <>
struct Fields<virtio::console::State> {
    using T = virtio::console::State;
    static constexpr auto list =
        std::tuple(hex("features", &T::features), upto(virtio::console::kMaxPorts, "ports", &T::ports));
};

}  // namespace hako::state
