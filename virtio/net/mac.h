// Hardware addresses.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hako::virtio::net {

using Mac = std::array<std::uint8_t, 6>;

/// "02:00:5e:10:00:01"; nothing if `text` is not such an address or is one that no interface may have (all
/// zero, multicast).
[[nodiscard]] std::optional<Mac> parse_mac(std::string_view text);
[[nodiscard]] std::string mac_text(const Mac& mac);
[[nodiscard]] bool usable_mac(const Mac& mac);
/// The address as a number, and back.
[[nodiscard]] std::uint64_t mac_bits(const Mac& mac);
[[nodiscard]] Mac mac_of_bits(std::uint64_t bits);
/// A locally administered address, always the same for an interface's id and its tap's name: the tap tells
/// apart the VMs of one host, whose interfaces tend to have the same ids.
[[nodiscard]] Mac default_mac(std::string_view id, std::string_view tap);

}  // namespace hako::virtio::net
