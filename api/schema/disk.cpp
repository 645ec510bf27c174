#include "api/schema/disk.h"

#include <algorithm>
#include <bit>

#include "api/schema/refusal.h"

namespace hako::api {
namespace {

/// virtio 1.3, 5.2.6: VIRTIO_BLK_T_GET_ID answers with 20 bytes.
constexpr std::size_t kMaxSerial = 20;

bool printable(const std::string& text) {
    return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

Result<> check_supported(const DiskConfig& config, const json::Place& place) {
    if (config.vhost_user || config.vhost_socket) return not_supported(place, "vhost_user");
    if (config.iommu) return not_supported(place, "iommu");
    if (config.rate_limit_group)
        return not_supported(place, "rate_limit_group", "give each disk a rate_limiter_config");
    if (config.pci_device_id) return not_supported(place, "pci_device_id");
    if (config.image_type != ImageType::kUnknown && config.image_type != ImageType::kRaw)
        return not_supported(place, "image_type", "convert the image to Raw");
    return {};
}

}  // namespace

Result<std::string> disk_serial(const std::optional<std::string>& given, const std::string& id,
                                const json::Place& place) {
    const std::string serial = given.value_or("");
    if (serial.size() > kMaxSerial || !printable(serial))
        return refuse(place, "serial", fmt::format("a text of at most {} printable characters", kMaxSerial),
                      serial);
    // libvirt's aliases can be longer; the guest then sees how they begin.
    return serial.empty() ? id.substr(0, kMaxSerial) : serial;
}

Result<virtio::blk::Config> to_machine(const DiskConfig& config, const json::Place& place) {
    HAKO_TRY(check_supported(config, place));
    if (!config.path || config.path->empty())
        return refuse(place, "path", "an image file or a block device", config.path.value_or(""));
    virtio::blk::Config disk;
    disk.id = config.id.value_or("");
    disk.pci_segment = config.pci_segment;
    HAKO_TRY(check_id(place, disk.id));
    disk.path = *config.path;
    disk.readonly = config.readonly;
    disk.direct = config.direct;
    disk.queues = config.num_queues;
    if (!std::has_single_bit(config.queue_size))
        return refuse(place, "queue_size", "a power of two", std::to_string(config.queue_size));
    disk.queue_size = config.queue_size;
    disk.serial = HAKO_TRY(disk_serial(config.serial, disk.id, place));
    if (config.rate_limiter_config) disk.limits = to_machine(*config.rate_limiter_config);
    return disk;
}

DiskConfig from_machine(const virtio::blk::Config& config) {
    DiskConfig disk;
    disk.path = config.path;
    disk.readonly = config.readonly;
    disk.direct = config.direct;
    disk.num_queues = config.queues;
    disk.queue_size = config.queue_size;
    disk.rate_limiter_config = from_machine(config.limits);
    disk.id = config.id;
    disk.pci_segment = config.pci_segment;
    if (!config.serial.empty()) disk.serial = config.serial;
    disk.image_type = ImageType::kRaw;
    return disk;
}

}  // namespace hako::api
