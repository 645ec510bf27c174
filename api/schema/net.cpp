#include "api/schema/net.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "api/schema/refusal.h"
#include "virtio/net/mac.h"

namespace hako::api {
namespace {

/// IFNAMSIZ without its end mark.
constexpr std::size_t kMaxTapName = 15;
/// What older clients send when their user said nothing.
constexpr std::string_view kOldDefaultIp = "192.168.249.1";
/// sun_path without its end mark.
constexpr std::size_t kMaxSocketPath = 107;
/// As Cloud Hypervisor names the taps that it makes.
constexpr std::string_view kNewTap = "vmtap%d";

bool tap_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

/// A name the kernel takes, or a pattern with one %d at its end that it makes a name of.
bool tap_name(std::string_view text) {
    if (text.empty() || text.size() > kMaxTapName) return false;
    if (text.ends_with("%d")) text.remove_suffix(2);
    return std::ranges::all_of(text, tap_character) && text != "." && text != "..";
}

Result<> check_supported(const NetConfig& config, bool has_fds, const json::Place& place) {
    if (config.vhost_user || config.vhost_socket) return not_supported(place, "vhost_user");
    if (config.iommu) return not_supported(place, "iommu");
    if (config.pci_device_id) return not_supported(place, "pci_device_id");
    if (has_fds) return {};  // who opened the taps has set them up
    if (config.host_mac) return not_supported(place, "host_mac", "set it with `ip link`");
    if (config.ip && *config.ip != kOldDefaultIp)
        return not_supported(place, "ip", "set the tap's address with `ip addr`");
    return {};
}

Result<> set_host_end(const NetConfig& config, std::span<const Fd> fds, const json::Place& place,
                      virtio::net::Config& net) {
    if (config.vhost && config.socket)
        return not_supported(place, "vhost", "leave it out for a socket: it goes with a tap");
    if (config.vhost && config.rate_limiter_config)
        return not_supported(place, "vhost", "leave it out, since the kernel keeps no rate limits");
    net.vhost = config.vhost;
    if (!fds.empty()) {
        if (config.tap) return refuse(place, "tap", "no tap beside descriptors", *config.tap);
        if (config.socket) return refuse(place, "socket", "no socket beside descriptors", *config.socket);
        if (fds.size() != net.queue_pairs)
            return refuse(place, "num_queues",
                          fmt::format("twice the number of descriptors, {},", 2 * fds.size()),
                          std::to_string(config.num_queues));
        for (const Fd& fd : fds)
            net.fds.push_back(fd.get());
        return {};
    }
    if (config.socket) {
        if (config.tap) return refuse(place, "tap", "no tap beside a socket", *config.tap);
        if (config.socket->empty() || config.socket->size() > kMaxSocketPath)
            return refuse(place, "socket", fmt::format("a path of 1 to {} bytes", kMaxSocketPath),
                          *config.socket);
        if (net.queue_pairs != 1)
            return refuse(place, "num_queues", "2, since a socket carries one pair,",
                          std::to_string(config.num_queues));
        net.socket = *config.socket;
        return {};
    }
    net.tap = config.tap.value_or(std::string(kNewTap));
    if (tap_name(net.tap)) return {};
    return refuse(place, "tap",
                  fmt::format("a text of at most {} letters, digits, '.', '_' or '-', with %d at the end "
                              "for a new number,",
                              kMaxTapName),
                  net.tap);
}

}  // namespace

Result<virtio::net::Config> to_machine(const NetConfig& config, std::span<const Fd> fds,
                                       const json::Place& place) {
    HAKO_TRY(check_supported(config, !fds.empty() || config.num_fds.has_value(), place));
    virtio::net::Config net;
    net.id = config.id.value_or("");
    net.pci_segment = config.pci_segment;
    HAKO_TRY(check_id(place, net.id));
    if (config.num_queues % 2 != 0)
        return refuse(place, "num_queues", "two for each pair, an even number,",
                      std::to_string(config.num_queues));
    net.queue_pairs = config.num_queues / 2;
    HAKO_TRY(set_host_end(config, fds, place, net));
    if (config.mac) {
        net.mac = virtio::net::parse_mac(*config.mac);
        if (!net.mac) return refuse(place, "mac", "a unicast address such as 02:00:5e:10:00:01", *config.mac);
    }
    net.mtu = config.mtu.value_or(0);
    if (!std::has_single_bit(config.queue_size))
        return refuse(place, "queue_size", "a power of two", std::to_string(config.queue_size));
    net.queue_size = config.queue_size;
    if (config.rate_limiter_config) {
        net.limits.rx = to_machine(*config.rate_limiter_config);
        net.limits.tx = net.limits.rx;
    }
    return net;
}

NetConfig from_machine(const virtio::net::Config& config) {
    NetConfig net;
    if (!config.tap.empty()) net.tap = config.tap;
    // A strict client (Kata's runtime-rs) wants all three.
    net.ip = std::string(kOldDefaultIp);
    net.mask = "255.255.255.0";
    net.mac = virtio::net::mac_text(config.mac.value_or(virtio::net::default_mac(config.id, config.tap)));
    if (config.mtu != 0) net.mtu = config.mtu;
    net.num_queues = static_cast<std::uint16_t>(2 * config.queue_pairs);
    net.queue_size = config.queue_size;
    net.id = config.id;
    net.pci_segment = config.pci_segment;
    net.rate_limiter_config = from_machine(config.limits.rx);
    if (!config.socket.empty()) net.socket = config.socket;
    net.vhost = config.vhost;
    return net;
}

}  // namespace hako::api
