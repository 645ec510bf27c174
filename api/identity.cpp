#include "api/identity.h"

#include <algorithm>
#include <set>
#include <string>

#include "api/schema/refusal.h"
#include "virtio/net/mac.h"

namespace hako::api {
namespace {

constexpr json::Place kBody;

/// The device with that id; each is spoken of once.
template <typename Device>
Result<Device*> find(std::vector<Device>& devices, const std::string& id, const json::Place& place,
                     std::set<std::string>& seen) {
    if (!seen.insert(id).second) return refuse(place, "id", "each device once", id);
    const auto found =
        std::ranges::find(devices, id, [](const Device& device) { return device.id.value_or(""); });
    if (found == devices.end()) return refuse(place, "id", "a device of the snapshot", id);
    return &*found;
}

bool has_fds(const RestoreConfig& wanted, const std::string& id) {
    return wanted.net_fds &&
           std::ranges::any_of(*wanted.net_fds, [&](const auto& one) { return one.id == id; });
}

Result<> give_host_end(NetConfig& net, const RestoredInterface& wanted, bool fds, const json::Place& place) {
    if (!wanted.tap && !wanted.socket) return {};
    const char* const field = wanted.tap ? "tap" : "socket";
    if (fds) return refuse(place, field, "nothing beside net_fds", wanted.tap ? *wanted.tap : *wanted.socket);
    // to_machine() refuses both at once.
    net.tap = wanted.tap;
    net.socket = wanted.socket;
    net.num_fds.reset();
    return {};
}

Result<> give_mac(const NetConfig& net, const RestoredInterface& wanted, const json::Place& place,
                  Vmm::Identity& identity) {
    if (!wanted.mac) return {};
    const auto mac = virtio::net::parse_mac(*wanted.mac);
    if (!mac) return refuse(place, "mac", "a unicast address such as 02:00:5e:10:00:01", *wanted.mac);
    if (net.mac && virtio::net::parse_mac(*net.mac) == mac) return {};
    identity.macs.push_back({.id = wanted.id, .mac = *mac});
    return {};
}

}  // namespace

Result<Vmm::Identity> give_identity(VmConfig& config, const RestoreConfig& wanted) {
    Vmm::Identity identity;
    std::set<std::string> seen;
    const json::Place nets{.outer = &kBody, .name = "net"};
    for (std::size_t i = 0; i < wanted.net.size(); ++i) {
        const RestoredInterface& one = wanted.net[i];
        const json::Place place{.outer = &nets, .name = {}, .index = i};
        NetConfig* const net = HAKO_TRY(find(config.net, one.id, place, seen));
        HAKO_TRY(give_host_end(*net, one, has_fds(wanted, one.id), place));
        HAKO_TRY(give_mac(*net, one, place, identity));
    }
    const json::Place disks{.outer = &kBody, .name = "disks"};
    for (std::size_t i = 0; i < wanted.disks.size(); ++i) {
        const json::Place place{.outer = &disks, .name = {}, .index = i};
        DiskConfig* const disk = HAKO_TRY(find(config.disks, wanted.disks[i].id, place, seen));
        disk->path = wanted.disks[i].path;
    }
    if (wanted.cloud_init)
        identity.seed = HAKO_TRY(build_seed(*wanted.cloud_init, {.outer = &kBody, .name = "cloud_init"}));
    return identity;
}

}  // namespace hako::api
