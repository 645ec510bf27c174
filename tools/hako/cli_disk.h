// --disk
#pragma once

#include <span>
#include <string>
#include <vector>

#include "virtio/blk/config.h"
#include "vmm/base/result.h"
#include "vmm/machine/config.h"

namespace hako::cli {

/// More than this many PCI devices do not fit beside hako's own.
inline constexpr std::size_t kMaxDisks = kMaxDevices;

/// The disks of all `--disk` options, in order; those without an id are named "_disk0", "_disk1", … by
/// position.
Result<std::vector<virtio::blk::Config>> parse_disks(std::span<const std::string> texts);

}  // namespace hako::cli
