// What each of the four NoCloud texts must be for cloud-init to understand it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vmm/base/result.h"
#include "vmm/seed/config.h"

namespace hako::seed {

/// user-data or vendor-data: empty, or begins as one of cloud-init's formats; a #cloud-config must be a
/// mapping.
Result<> check_user_data(std::string_view text);
/// network-config: a mapping.
Result<> check_network_config(std::string_view text);
/// meta-data as the guest gets it: unchanged if it has an instance-id, else with this one put in. "" is fine.
Result<std::string> complete_meta_data(std::string_view text, std::string_view instance_id);

/// "iid-" and 16 hex digits, from all four texts: a changed seed is a new instance.
std::string derive_instance_id(const Config& config);

}  // namespace hako::seed
