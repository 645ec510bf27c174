#include "virtio/net/mac.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace hako::virtio::net {

bool usable_mac(const Mac& mac) {
    const bool multicast = (mac[0] & 1) != 0;
    return !multicast && std::ranges::any_of(mac, [](std::uint8_t byte) { return byte != 0; });
}

std::optional<Mac> parse_mac(std::string_view text) {
    Mac mac{};
    if (text.size() != 3 * mac.size() - 1) return std::nullopt;
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const char* const digits = text.data() + 3 * i;
        if (i > 0 && digits[-1] != ':') return std::nullopt;
        const auto [end, error] = std::from_chars(digits, digits + 2, mac[i], 16);
        if (error != std::errc{} || end != digits + 2) return std::nullopt;
    }
    return usable_mac(mac) ? std::optional(mac) : std::nullopt;
}

std::string mac_text(const Mac& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4],
                       mac[5]);
}

Mac default_mac(std::string_view id, std::string_view tap) {
    // FNV-1a: the address must not change with the compiler or the library, so no std::hash.
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const std::string_view part : {id, std::string_view("/"), tap}) {
        for (const char c : part)
            hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
    }
    Mac mac{};
    for (std::size_t i = 0; i < mac.size(); ++i)
        mac[i] = static_cast<std::uint8_t>(hash >> (8 * (i + 2)));
    mac[0] = static_cast<std::uint8_t>((mac[0] & ~1U) | 2U);  // unicast, locally administered
    return mac;
}

std::uint64_t mac_bits(const Mac& mac) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, mac.data(), mac.size());
    return bits;
}

Mac mac_of_bits(std::uint64_t bits) {
    Mac mac{};
    std::memcpy(mac.data(), &bits, mac.size());
    return mac;
}

}  // namespace hako::virtio::net
