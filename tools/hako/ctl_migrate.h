// `hako ctl migrate`: a live migration from its beginning to its end, shown as it goes.
#pragma once

#include <string>
#include <string_view>

#include "tools/hako/ctl_client.h"
#include "vmm/base/result.h"

namespace hako {

/// Follows the migration that has begun. On a terminal a bar is drawn; at the end one line says how it went.
/// A migration that did not end well is an error.
Result<> follow_migration(CtlClient& client, bool json);

/// "[#####-----]  51 %  round 3  812 MiB/s  dirty 40 MiB/s  downtime 12 ms (predicted)". Of a progress, JSON.
[[nodiscard]] std::string migration_bar(std::string_view json);
/// "moved in 2.1 s: 1.2 GiB in 4 rounds, downtime 11 ms"
[[nodiscard]] std::string migration_end(std::string_view json);

}  // namespace hako
