// --cloud-init, --helper-disk and the words of `hako seed`.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/hako/cli_app.h"
#include "tools/hako/seed_command.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// "USER[,META[,NETWORK]]", or with keys: "user-data=PATH,network-config=PATH,hostname=TEXT".
Result<SeedPaths> parse_seed_paths(std::string_view text);
/// "id=TEXT,folder=PATH", each id once.
Result<std::vector<HelperFolder>> parse_helper_folders(std::span<const std::string> texts);

Result<SeedCommand> seed_command(const App& app);

}  // namespace hako::cli
