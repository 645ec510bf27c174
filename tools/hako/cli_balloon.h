// --balloon
#pragma once

#include <string_view>

#include "virtio/balloon/config.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// An error names the option and what is allowed.
Result<virtio::balloon::Config> parse_balloon(std::string_view text);

}  // namespace hako::cli
