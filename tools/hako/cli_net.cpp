#include "tools/hako/cli_net.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "tools/hako/cli_key_values.h"
#include "tools/hako/cli_number.h"
#include "tools/hako/cli_rate.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"tap"sv,    "fd"sv, "socket"sv,    "vhost"sv,           "mac"sv, "mtu"sv,
                              "queues"sv, "id"sv, "bandwidth"sv, "bandwidth_burst"sv, "pps"sv, "pps_burst"sv};
constexpr std::array kFlags = {"vhost"sv};
constexpr std::array kRepeated = {"fd"sv};
constexpr KeyValueSyntax kSyntax = {
    .option = "--net", .keys = kKeys, .flags = kFlags, .bare = {}, .repeated = kRepeated};

/// IFNAMSIZ with its end mark.
constexpr std::size_t kMaxTapName = 15;
/// sun_path with its end mark.
constexpr std::size_t kMaxSocketPath = 107;
constexpr std::size_t kMaxId = 64;
constexpr std::uint16_t kMinMtu = 68;  // virtio 1.3, 5.1.4.1
constexpr std::uint16_t kMaxMtu = 65535;
constexpr std::uint64_t kMaxFd = 1 << 20;

bool id_characters(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.';
    });
}

/// A name the kernel takes, or a pattern with one %d at its end that it makes a name of.
bool tap_name(std::string_view text) {
    if (text.empty() || text.size() > kMaxTapName) return false;
    if (text.ends_with("%d")) text.remove_suffix(2);
    return id_characters(text) && text != "." && text != "..";
}

Result<> read_fds(const KeyValues& values, virtio::net::Config& net) {
    for (const std::string& text : values.all("fd")) {
        const auto fd = parse_number(text, 3, kMaxFd);
        if (!fd)
            return values.refuse_all(fmt::format("fd must be an open descriptor from 3 up, not {}", text));
        if (std::ranges::find(net.fds, static_cast<int>(*fd)) != net.fds.end())
            return values.refuse_all(fmt::format("fd {} is given twice: each queue needs its own", text));
        net.fds.push_back(static_cast<int>(*fd));
    }
    return {};
}

Result<virtio::net::Config> parse_net(std::string_view text, std::size_t index) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    virtio::net::Config net;
    net.id = fmt::format("_net{}", index);
    HAKO_TRY(values.read_text("tap", net.tap));
    HAKO_TRY(read_fds(values, net));
    HAKO_TRY(values.read_text("socket", net.socket));
    if (int{!net.tap.empty()} + int{!net.fds.empty()} + int{!net.socket.empty()} != 1)
        return values.refuse_all(
            "give tap=NAME, socket=PATH or fd=N, one of the three: the host's end of the interface");
    if (net.socket.size() > kMaxSocketPath)
        return values.refuse("socket", fmt::format("a path of at most {} bytes", kMaxSocketPath));
    HAKO_TRY(values.read_switch("vhost", net.vhost));
    if (net.vhost && !net.socket.empty())
        return values.refuse_all("vhost=on goes with a tap: leave it out for a socket");
    if (!net.tap.empty() && !tap_name(net.tap))
        return values.refuse("tap", fmt::format("at most {} letters, digits, '.', '_' or '-', with %d at the "
                                                "end for a new number",
                                                kMaxTapName));
    if (values.find("mac") != nullptr) {
        net.mac = virtio::net::parse_mac(*values.find("mac"));
        if (!net.mac) return values.refuse("mac", "a unicast address such as 02:00:5e:10:00:01");
    }
    HAKO_TRY(values.read_number("mtu", net.mtu, kMinMtu, kMaxMtu));
    if (!net.fds.empty()) net.queue_pairs = static_cast<std::uint16_t>(net.fds.size());
    HAKO_TRY(values.read_number("queues", net.queue_pairs, std::uint16_t{1}, virtio::net::kMaxQueuePairs));
    if (!net.socket.empty() && net.queue_pairs != 1)
        return values.refuse_all("a socket carries one queue: leave queues out, or give a tap");
    if (!net.fds.empty() &&
        (net.fds.size() != net.queue_pairs || net.fds.size() > virtio::net::kMaxQueuePairs))
        return values.refuse_all("each queue needs one fd=N, at most 8");
    HAKO_TRY(read_bandwidth(values, net.limits.rx.bytes));
    HAKO_TRY(read_operations(values, "pps", net.limits.rx.operations));
    net.limits.tx = net.limits.rx;
    if (net.vhost && net.limits != virtio::net::Limits{})
        return values.refuse_all("packets that vhost-net carries cannot be limited: limit the tap (tc)");
    HAKO_TRY(values.read_text("id", net.id));
    if (net.id.size() > kMaxId || !id_characters(net.id))
        return values.refuse("id", fmt::format("at most {} letters, digits, '.', '_' or '-'", kMaxId));
    return net;
}

}  // namespace

Result<std::vector<virtio::net::Config>> parse_nets(std::span<const std::string> texts) {
    if (texts.size() > kMaxNets)
        return fail_input("--net is given {} times: a VM has at most {} network interfaces", texts.size(),
                          kMaxNets);
    std::vector<virtio::net::Config> nets;
    for (const std::string& text : texts) {
        const virtio::net::Config net = HAKO_TRY(parse_net(text, nets.size()));
        for (const virtio::net::Config& other : nets) {
            if (net.id == other.id)
                return fail_input("--net {}: the id {} is taken: ids must differ", text, net.id);
            if (net.mac && net.mac == other.mac)
                return fail_input("--net {}: the address {} is taken by {}: addresses must differ", text,
                                  virtio::net::mac_text(*net.mac), other.id);
            const bool same_fd = std::ranges::any_of(
                net.fds, [&](int fd) { return std::ranges::find(other.fds, fd) != other.fds.end(); });
            if (same_fd || (!net.tap.empty() && !net.tap.ends_with("%d") && net.tap == other.tap))
                return fail_input("--net {}: the tap is taken by {}: each interface needs its own", text,
                                  other.id);
            if (!net.socket.empty() && net.socket == other.socket)
                return fail_input("--net {}: the socket is taken by {}: each interface needs its own", text,
                                  other.id);
        }
        nets.push_back(net);
    }
    return nets;
}

}  // namespace hako::cli
