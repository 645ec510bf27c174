// --vsock
#pragma once

#include <string_view>

#include "virtio/vsock/config.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// "cid=N,socket=PATH", with "id=TEXT" if wanted.
Result<virtio::vsock::Config> parse_vsock(std::string_view text);

}  // namespace hako::cli
