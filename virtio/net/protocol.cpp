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

}  // namespace

std::optional<ControlCommand> parse_control(std::span<const std::byte> bytes, std::uint64_t features,
                                            std::uint16_t max_pairs) {
    if (bytes.size() < kCommandHeader) return std::nullopt;
    const auto command_class = std::to_integer<std::uint8_t>(bytes[0]);
    const auto command = std::to_integer<std::uint8_t>(bytes[1]);
    const auto data = bytes.subspan(kCommandHeader);
    if (command_class == kControlMultiQueue && command == kControlPairsSet) {
        const auto pairs = exactly<std::uint16_t>(data);
        if ((features & feature::kMultiQueue) == 0 || !pairs) return std::nullopt;
        if (*pairs < 1 || *pairs > max_pairs) return std::nullopt;
        return SetQueuePairs{*pairs};
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
