#include "migration/instance/image_locks.h"

#include <algorithm>

namespace hako::migration {

Result<> own_images(const Machine& machine, std::span<const std::string> kept) {
    Result<> owned;
    machine.devices().for_each<virtio::blk::BlockDevice>([&](virtio::blk::BlockDevice& disk) {
        if (!owned) return;
        if (Result<> one = disk.disk().lock().own(); !one)
            owned = std::unexpected(std::move(one).error().wrap(fmt::format("disk {}", disk.id())));
    });
    if (!owned) release_images(machine, kept);
    return owned;
}

void release_images(const Machine& machine, std::span<const std::string> kept) {
    machine.devices().for_each<virtio::blk::BlockDevice>([&](virtio::blk::BlockDevice& disk) {
        if (std::ranges::find(kept, disk.id()) == kept.end()) disk.disk().lock().release();
    });
}

}  // namespace hako::migration
