#include "api/schema/vsock.h"

#include "api/schema/refusal.h"

namespace hako::api {

Result<virtio::vsock::Config> to_machine(const VsockConfig& config, const json::Place& place) {
    if (config.iommu) return not_supported(place, "iommu");
    if (config.pci_device_id) return not_supported(place, "pci_device_id");
    virtio::vsock::Config vsock;
    vsock.id = config.id.value_or("");
    HAKO_TRY(check_id(place, vsock.id));
    vsock.cid = config.cid;
    vsock.pci_segment = config.pci_segment;
    if (config.socket.empty() || config.socket.size() > virtio::vsock::kMaxSocketPath)
        return refuse(place, "socket", fmt::format("a path of 1 to {} bytes", virtio::vsock::kMaxSocketPath),
                      config.socket);
    vsock.socket = config.socket;
    return vsock;
}

VsockConfig from_machine(const virtio::vsock::Config& config) {
    return {.cid = config.cid, .socket = config.socket, .pci_segment = config.pci_segment, .id = config.id};
}

}  // namespace hako::api
