#include "api/departure.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "api/json/codec.h"

template <>
struct hako::api::json::Fields<hako::api::Departing> {
    static constexpr auto list = std::tuple(required("config", &hako::api::Departing::config),
                                            required("running", &hako::api::Departing::running));
};

namespace hako::api {

Result<migration::Blob> write_departing(const Departing& vm) {
    const std::string text = json::encode(vm);
    if (text.size() > migration::kMaxConfig)
        return fail_input("the VM's configuration is too long to be sent: {} bytes", text.size());
    const auto bytes = std::as_bytes(std::span(text));
    return migration::Blob(bytes.begin(), bytes.end());
}

Result<Departing> read_departing(std::span<const std::byte> bytes) {
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return HAKO_TRY_WRAP(json::decode<Departing>(text), "the VM's configuration, as the source sent it");
}

Result<> give_vsock(VmConfig& config, const std::optional<std::string>& path) {
    if (!path) return {};
    if (!config.vsock) return fail_input("vsock_socket: the VM has no vsock");
    config.vsock->socket = *path;
    return {};
}

Result<> give_fs(VmConfig& config, const std::vector<RestoredFsConfig>& given) {
    for (const RestoredFsConfig& one : given) {
        const auto found =
            std::ranges::find(config.fs, one.id, [](const FsConfig& fs) { return fs.id.value_or(""); });
        if (found == config.fs.end()) return fail_input("fs_sockets: the VM has no virtio-fs {}", one.id);
        found->socket = one.socket;
    }
    return {};
}

Result<> give_nets(VmConfig& config, const std::vector<RestoredNetConfig>& given) {
    for (const NetConfig& net : config.net) {
        const std::string id = net.id.value_or("");
        const bool replaced = std::ranges::any_of(given, [&](const auto& one) { return one.id == id; });
        if (net.num_fds.value_or(0) > 0 && !replaced)
            return fail_input("net_fds: network interface {} lived of descriptors: it needs new ones", id);
    }
    for (const RestoredNetConfig& one : given) {
        const auto found =
            std::ranges::find(config.net, one.id, [](const NetConfig& net) { return net.id.value_or(""); });
        if (found == config.net.end())
            return fail_input("net_fds: the VM has no network interface {}", one.id);
        found->tap.reset();
        found->num_fds = one.num_fds;
    }
    return {};
}

}  // namespace hako::api
