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
/// network-config: a mapping of version 1 or 2, also within `network:`.
Result<> check_network_config(std::string_view text);
/// meta-data as the guest gets it: unchanged if it has an instance-id, else with this one put in. "" is fine.
Result<std::string> complete_meta_data(std::string_view text, std::string_view instance_id);

/// meta-data with that key; refused if it has another value there already. The value passed its check.
Result<std::string> set_meta_data(std::string_view text, std::string_view key, std::string_view value);

inline constexpr std::string_view kInstanceId = "instance-id";
inline constexpr std::string_view kLocalHostname = "local-hostname";
inline constexpr std::size_t kMaxInstanceId = 255;
inline constexpr std::size_t kMaxHostname = 253;
Result<> check_instance_id(std::string_view text);
Result<> check_hostname(std::string_view text);

/// "iid-" and 16 hex digits, from all four texts and the host name: a changed seed is a new instance.
std::string derive_instance_id(const Config& config);

}  // namespace hako::seed
