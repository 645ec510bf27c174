#include "migration/instance/image_locks.h"

namespace hako::migration {

Result<> own_images(const Machine& machine) {
    Result<> owned;
    machine.devices().for_each<virtio::blk::BlockDevice>([&](virtio::blk::BlockDevice& disk) {
        if (!owned) return;
        if (Result<> one = disk.disk().lock().own(); !one)
            owned = std::unexpected(std::move(one).error().wrap(fmt::format("disk {}", disk.id())));
    });
    if (!owned) release_images(machine);
    return owned;
}

void release_images(const Machine& machine) {
    machine.devices().for_each<virtio::blk::BlockDevice>(
        [](virtio::blk::BlockDevice& disk) { disk.disk().lock().release(); });
}

}  // namespace hako::migration
