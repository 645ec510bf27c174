#include "api/schema/balloon.h"

#include "api/schema/refusal.h"

namespace hako::api {

Result<virtio::balloon::Config> to_machine(const BalloonConfig& config, const json::Place& place) {
    if (config.pci_device_id) return not_supported(place, "pci_device_id");
    virtio::balloon::Config balloon;
    // Its own id comes back in snapshots and from clients that send what they were told.
    if (config.id && *config.id != balloon.id) {
        HAKO_TRY(check_id(place, *config.id));
        balloon.id = *config.id;
    }
    balloon.size = config.size / virtio::balloon::kBalloonPage * virtio::balloon::kBalloonPage;
    balloon.pci_segment = config.pci_segment;
    balloon.deflate_on_oom = config.deflate_on_oom;
    balloon.free_page_reporting = config.free_page_reporting;
    return balloon;
}

BalloonConfig from_machine(const virtio::balloon::Config& config) {
    return {.size = config.size,
            .deflate_on_oom = config.deflate_on_oom,
            .free_page_reporting = config.free_page_reporting,
            .pci_segment = config.pci_segment,
            .id = config.id};
}

}  // namespace hako::api
