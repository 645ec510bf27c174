#include "vmm/machine/host_resources.h"

namespace hako {

Result<HostResources> HostResources::open(const MachineConfig& config, virtio::blk::Disk::Claim claim) {
    HostResources resources;
    for (const virtio::blk::Config& disk : config.disks)
        resources.disks.push_back(HAKO_TRY_WRAP(virtio::blk::Disk::open(disk, claim), "disk {}", disk.id));
    for (const virtio::net::Config& net : config.nets)
        resources.nets.push_back(
            HAKO_TRY_WRAP(virtio::net::HostEnd::open(net), "network interface {}", net.id));
    for (const virtio::vsock::Config& vsock : config.vsocks)
        resources.vsocks.push_back(HAKO_TRY_WRAP(virtio::vsock::HostEnd::open(vsock), "vsock {}", vsock.id));
    for (const virtio::fs::Config& fs : config.fs)
        resources.fs.push_back(
            HAKO_TRY_WRAP(virtio::vhost_user::Frontend::connect(fs.socket), "virtio-fs {}", fs.id));
    return resources;
}

}  // namespace hako
