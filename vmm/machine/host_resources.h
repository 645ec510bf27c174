// What a VM takes from the host beside KVM: its images, opened and locked, its taps and sockets.
#pragma once

#include <memory>
#include <vector>

#include "virtio/blk/disk.h"
#include "virtio/net/host_end.h"
#include "virtio/vhost_user/frontend.h"
#include "virtio/vsock/host_end.h"
#include "vmm/base/result.h"
#include "vmm/machine/config.h"

namespace hako {

/// Opened before KVM is touched, so that bad input costs nothing and leaves nothing behind; handed from one
/// life of a machine to the next over a reboot, so that nobody else can take an image in between.
struct HostResources {
    std::vector<virtio::blk::Disk> disks;        ///< in the order of MachineConfig::disks
    std::vector<virtio::net::HostEnd> nets;      ///< in the order of MachineConfig::nets
    std::vector<virtio::vsock::HostEnd> vsocks;  ///< in the order of MachineConfig::vsocks
    /// In the order of MachineConfig::fs.
    std::vector<std::unique_ptr<virtio::vhost_user::Frontend>> fs;

    /// Opens and locks every image, opens every tap and socket, also those that others connect to, and
    /// connects to daemons. With kAnnounce images stay another's until their locks are taken.
    static Result<HostResources> open(const MachineConfig& config,
                                      virtio::blk::Disk::Claim claim = virtio::blk::Disk::Claim::kOwn);
};

}  // namespace hako
