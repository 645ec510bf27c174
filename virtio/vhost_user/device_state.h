// The state of a daemon, read and written while its rings stand still. (VHOST_USER_PROTOCOL_F_DEVICE_STATE)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "virtio/vhost_user/frontend.h"
#include "vmm/base/result.h"

namespace hako::virtio::vhost_user {

/// Nothing else is asked of the daemon meanwhile. It keeps the state, too.
[[nodiscard]] Result<std::vector<std::uint8_t>> save_device_state(Frontend& daemon);
[[nodiscard]] Result<> load_device_state(Frontend& daemon, std::span<const std::uint8_t> state);

}  // namespace hako::virtio::vhost_user
