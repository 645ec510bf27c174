// `hako ctl migrate`: a live migration from its beginning to its end, shown as it goes.
#pragma once

#include "tools/hako/ctl_client.h"
#include "vmm/base/result.h"

namespace hako {

/// Follows the migration that has begun. On a terminal a bar is drawn; at the end one line says how it went.
/// A migration that did not end well is an error.
Result<> follow_migration(CtlClient& client, bool json);

}  // namespace hako
