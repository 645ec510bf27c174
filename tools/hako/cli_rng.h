// --rng
#pragma once

#include <optional>
#include <string_view>

#include "virtio/rng/config.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// "off" (nothing), or how fast: "bandwidth=SIZE/s", with "bandwidth_burst=SIZE" if wanted.
Result<std::optional<virtio::rng::Config>> parse_rng(std::string_view text);

}  // namespace hako::cli
