// --net
#pragma once

#include <span>
#include <string>
#include <vector>

#include "virtio/net/config.h"
#include "vmm/base/result.h"

namespace hako::cli {

inline constexpr std::size_t kMaxNets = 8;

/// The network interfaces of all `--net` options, in order; those without an id are named "_net0", "_net1", …
/// by position.
Result<std::vector<virtio::net::Config>> parse_nets(std::span<const std::string> texts);

}  // namespace hako::cli
