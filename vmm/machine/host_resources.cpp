#include "vmm/machine/host_resources.h"

namespace hako {

Result<HostResources> HostResources::open(const MachineConfig& config) {
    HostResources resources;
    for (const virtio::blk::Config& disk : config.disks)
        resources.disks.push_back(HAKO_TRY_WRAP(virtio::blk::Disk::open(disk), "disk {}", disk.id));
    for (const virtio::net::Config& net : config.nets)
        resources.nets.push_back(
            HAKO_TRY_WRAP(virtio::net::HostEnd::open(net), "network interface {}", net.id));
    if (config.cloud_init) {
        seed::Image image = HAKO_TRY(seed::build(*config.cloud_init));
        resources.seed = HAKO_TRY(virtio::blk::Disk::adopt(std::move(image.fd), "cloud-init seed"));
    }
    return resources;
}

}  // namespace hako
