// The frame by which switches learn where a MAC address is now (RFC 903).
#pragma once

#include <array>
#include <cstddef>

#include "virtio/net/mac.h"
#include "virtio/net/protocol.h"

namespace hako::virtio::net {

/// An Ethernet frame without its checksum has at least so many bytes (IEEE 802.3, 3.2.8).
inline constexpr std::size_t kRarpFrame = 60;

/// "Who am I", to everybody, behind the header that a tap wants.
[[nodiscard]] std::array<std::byte, sizeof(Header) + kRarpFrame> rarp_frame(const Mac& mac);

}  // namespace hako::virtio::net
