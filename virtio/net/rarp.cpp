#include "virtio/net/rarp.h"

#include <algorithm>
#include <cstdint>

namespace hako::virtio::net {

std::array<std::byte, sizeof(Header) + kRarpFrame> rarp_frame(const Mac& mac) {
    constexpr std::array<std::uint8_t, 10> kFields = {
        0x80, 0x35,  // the frame is RARP
        0,    1,     // addresses of Ethernet
        8,    0,     // and of IPv4
        6,    4,     // bytes of each
        0,    3,     // a reverse request
    };
    std::array<std::byte, sizeof(Header) + kRarpFrame> frame{};
    auto* at = frame.data() + sizeof(Header);
    const auto put = [&at](const auto& bytes) {
        at = std::ranges::transform(bytes, at, [](std::uint8_t byte) { return std::byte{byte}; }).out;
    };
    constexpr Mac kEverybody = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    constexpr std::array<std::uint8_t, 4> kNoAddress{};
    put(kEverybody);
    put(mac);
    put(kFields);
    put(mac);
    put(kNoAddress);
    put(mac);
    put(kNoAddress);
    return frame;
}

}  // namespace hako::virtio::net
