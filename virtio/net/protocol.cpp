#include "virtio/net/protocol.h"

#include <cstring>

namespace hako::virtio::net {
namespace {

constexpr std::size_t kCommandHeader = 2;

template <typename T>
std::optional<T> exactly(std::span<const std::byte> data) {
    if (data.size() != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, data.data(), sizeof value);
    return value;
}

/// What follows a table of addresses (struct virtio_net_ctrl_mac) at the start of `data`; nothing if it is
/// cut short.
std::optional<std::span<const std::byte>> skip_mac_table(std::span<const std::byte> data) {
    std::uint32_t entries = 0;
    if (data.size() < sizeof entries) return std::nullopt;
    std::memcpy(&entries, data.data(), sizeof entries);
    data = data.subspan(sizeof entries);
    if (entries > data.size() / sizeof(Mac)) return std::nullopt;
    return data.subspan(entries * sizeof(Mac));
}

std::optional<ControlCommand> parse_rx_mode(std::uint8_t command, std::span<const std::byte> data) {
    const auto on = exactly<std::uint8_t>(data);
    if (!on || *on > 1) return std::nullopt;
    if (command == kControlRxPromiscuous) return SetPromiscuous{*on == 1};
    if (command == kControlRxAllMulticast) return SetAllMulticast{*on == 1};
    return std::nullopt;
}

/// Unicast and multicast addresses (virtio 1.3, 5.1.6.5.2).
std::optional<ControlCommand> parse_mac_tables(std::span<const std::byte> data) {
    const auto second = skip_mac_table(data);
    const auto end = second ? skip_mac_table(*second) : std::nullopt;
    return end && end->empty() ? std::optional<ControlCommand>(SetMacTable{}) : std::nullopt;
}

}  // namespace

std::optional<ControlCommand> parse_control(std::span<const std::byte> bytes, std::uint64_t features,
                                            std::uint16_t max_pairs) {
    if (bytes.size() < kCommandHeader || bytes.size() > kMaxControlBytes) return std::nullopt;
    const auto command_class = std::to_integer<std::uint8_t>(bytes[0]);
    const auto command = std::to_integer<std::uint8_t>(bytes[1]);
    const auto data = bytes.subspan(kCommandHeader);
    if (command_class == kControlMultiQueue && command == kControlPairsSet) {
        const auto pairs = exactly<std::uint16_t>(data);
        if ((features & feature::kMultiQueue) == 0 || !pairs) return std::nullopt;
        if (*pairs < 1 || *pairs > max_pairs) return std::nullopt;
        return SetQueuePairs{*pairs};
    }
    const bool rx = (features & feature::kControlRx) != 0;
    if (command_class == kControlRx && rx) return parse_rx_mode(command, data);
    if (command_class == kControlMac && command == kControlMacTableSet && rx) return parse_mac_tables(data);
    if (command_class == kControlMac && command == kControlMacAddressSet) {
        const auto mac = exactly<Mac>(data);
        if ((features & feature::kControlMac) == 0 || !mac || !usable_mac(*mac)) return std::nullopt;
        return SetMac{*mac};
    }
    if (command_class == kControlAnnounce && command == kControlAnnounceAck) {
        if ((features & feature::kGuestAnnounce) == 0 || !data.empty()) return std::nullopt;
        return AckAnnounce{};
    }
    if (command_class == kControlOffloads && command == kControlOffloadsSet) {
        const auto offloads = exactly<std::uint64_t>(data);
        if ((features & feature::kCtrlGuestOffloads) == 0 || !offloads) return std::nullopt;
        if ((*offloads & ~(features & kGuestOffloads)) != 0) return std::nullopt;
        if (initial_guest_offloads(*offloads) != *offloads) return std::nullopt;
        return SetGuestOffloads{*offloads};
    }
    return std::nullopt;
}

std::uint64_t initial_guest_offloads(std::uint64_t features) {
    return (features & feature::kGuestCsum) != 0 ? features & kGuestOffloads : 0;
}

Header received_header(Header from_host, std::uint16_t num_buffers, std::uint64_t features) {
    if ((features & feature::kGuestCsum) == 0) from_host.flags = 0;
    from_host.num_buffers = num_buffers;
    return from_host;
}

}  // namespace hako::virtio::net
