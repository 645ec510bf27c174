#include "api/schema/fs.h"

#include <bit>

#include "api/schema/refusal.h"

namespace hako::api {

Result<virtio::fs::Config> to_machine(const FsConfig& config, const json::Place& place) {
    if (config.pci_device_id) return not_supported(place, "pci_device_id");
    virtio::fs::Config fs;
    fs.id = config.id.value_or("");
    HAKO_TRY(check_id(place, fs.id));
    if (config.tag.empty() || config.tag.size() > virtio::fs::kMaxTag ||
        config.tag.find('\0') != std::string::npos)
        return refuse(place, "tag", fmt::format("a name of 1 to {} bytes", virtio::fs::kMaxTag), config.tag);
    fs.tag = config.tag;
    if (config.socket.empty() || config.socket.size() > virtio::fs::kMaxSocketPath)
        return refuse(place, "socket", fmt::format("a path of 1 to {} bytes", virtio::fs::kMaxSocketPath),
                      config.socket);
    fs.socket = config.socket;
    fs.queues = config.num_queues;
    fs.pci_segment = config.pci_segment;
    if (!std::has_single_bit(config.queue_size))
        return refuse(place, "queue_size", "a power of two", std::to_string(config.queue_size));
    fs.queue_size = config.queue_size;
    return fs;
}

FsConfig from_machine(const virtio::fs::Config& config) {
    return {.tag = config.tag,
            .socket = config.socket,
            .num_queues = config.queues,
            .queue_size = config.queue_size,
            .pci_segment = config.pci_segment,
            .id = config.id};
}

}  // namespace hako::api
