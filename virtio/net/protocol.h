// Numbers, layouts and commands of virtio-net (virtio 1.3, 5.1). Little-endian, as is the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "virtio/net/mac.h"

namespace hako::virtio::net {

namespace feature {
inline constexpr std::uint64_t kCsum = std::uint64_t{1} << 0;
inline constexpr std::uint64_t kGuestCsum = std::uint64_t{1} << 1;
inline constexpr std::uint64_t kCtrlGuestOffloads = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kMtu = std::uint64_t{1} << 3;
inline constexpr std::uint64_t kMac = std::uint64_t{1} << 5;
inline constexpr std::uint64_t kGuestTso4 = std::uint64_t{1} << 7;
inline constexpr std::uint64_t kGuestTso6 = std::uint64_t{1} << 8;
inline constexpr std::uint64_t kHostTso4 = std::uint64_t{1} << 11;
inline constexpr std::uint64_t kHostTso6 = std::uint64_t{1} << 12;
inline constexpr std::uint64_t kMergeableBuffers = std::uint64_t{1} << 15;
inline constexpr std::uint64_t kStatus = std::uint64_t{1} << 16;
inline constexpr std::uint64_t kControlQueue = std::uint64_t{1} << 17;
inline constexpr std::uint64_t kControlRx = std::uint64_t{1} << 18;
inline constexpr std::uint64_t kGuestAnnounce = std::uint64_t{1} << 21;
inline constexpr std::uint64_t kMultiQueue = std::uint64_t{1} << 22;
inline constexpr std::uint64_t kControlMac = std::uint64_t{1} << 23;
}  // namespace feature

/// What VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET may switch: the bits are those of the features.
inline constexpr std::uint64_t kGuestOffloads =
    feature::kGuestCsum | feature::kGuestTso4 | feature::kGuestTso6;

/// struct virtio_net_hdr as VERSION_1 has it: `num_buffers` is always there (5.1.6).
struct Header {
    std::uint8_t flags;
    std::uint8_t gso_type;
    std::uint16_t hdr_len;
    std::uint16_t gso_size;
    std::uint16_t csum_start;
    std::uint16_t csum_offset;
    std::uint16_t num_buffers;
};
static_assert(sizeof(Header) == 12);

/// struct virtio_net_config up to the fields hako offers.
struct __attribute__((packed)) ConfigSpace {
    Mac mac;
    std::uint16_t status;
    std::uint16_t max_virtqueue_pairs;
    std::uint16_t mtu;
};
static_assert(sizeof(ConfigSpace) == 12);
inline constexpr std::uint16_t kStatusLinkUp = 1;
inline constexpr std::uint16_t kStatusAnnounce = 2;

/// A control command is `class`, `command` and its data; the answer one byte (5.1.6.5).
inline constexpr std::uint8_t kControlRx = 0;  ///< class VIRTIO_NET_CTRL_RX
inline constexpr std::uint8_t kControlRxPromiscuous = 0;
inline constexpr std::uint8_t kControlRxAllMulticast = 1;
inline constexpr std::uint8_t kControlMac = 1;  ///< class VIRTIO_NET_CTRL_MAC
inline constexpr std::uint8_t kControlMacTableSet = 0;
inline constexpr std::uint8_t kControlMacAddressSet = 1;
inline constexpr std::uint8_t kControlAnnounce = 3;  ///< class VIRTIO_NET_CTRL_ANNOUNCE
inline constexpr std::uint8_t kControlAnnounceAck = 0;
inline constexpr std::uint8_t kControlOffloads = 5;  ///< class VIRTIO_NET_CTRL_GUEST_OFFLOADS
inline constexpr std::uint8_t kControlOffloadsSet = 0;
inline constexpr std::uint8_t kControlMultiQueue = 4;  ///< class VIRTIO_NET_CTRL_MQ
inline constexpr std::uint8_t kControlPairsSet = 0;
inline constexpr std::size_t kMaxMacTable = 256;  ///< addresses in one VIRTIO_NET_CTRL_MAC_TABLE_SET
/// The longest command hako takes: a table of addresses and its two counts.
inline constexpr std::size_t kMaxControlBytes = 2 + 2 * 4 + kMaxMacTable * sizeof(Mac);
enum class ControlAck : std::uint8_t { kOk = 0, kError = 1 };

struct SetQueuePairs {
    std::uint16_t pairs = 1;
};
struct SetGuestOffloads {
    std::uint64_t offloads = 0;
};
struct SetPromiscuous {
    bool on = false;
};
struct SetAllMulticast {
    bool on = false;
};
/// Checked, not kept: filtering by it is best-effort (5.1.6.5.2), and nothing here filters.
struct SetMacTable {};
struct SetMac {
    Mac mac{};
};
struct AckAnnounce {};
using ControlCommand = std::variant<SetQueuePairs, SetGuestOffloads, SetPromiscuous, SetAllMulticast,
                                    SetMacTable, SetMac, AckAnnounce>;

/// A control command out of its bytes. Nothing if it is unknown, was not negotiated, has the wrong length or
/// asks for what there is not: it is answered with kError (5.1.6.5).
[[nodiscard]] std::optional<ControlCommand> parse_control(std::span<const std::byte> bytes,
                                                          std::uint64_t features, std::uint16_t max_pairs);

/// The offloads in use before the driver says otherwise (5.1.6.5.6.1). TSO without checksums means nothing.
[[nodiscard]] std::uint64_t initial_guest_offloads(std::uint64_t features);

/// The header that the driver gets for the one the host gave (5.1.6.4.1).
[[nodiscard]] Header received_header(Header from_host, std::uint16_t num_buffers, std::uint64_t features);

}  // namespace hako::virtio::net
