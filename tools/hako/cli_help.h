// The help texts.
#pragma once

#include <string>

#include "tools/hako/cli_app.h"

namespace hako::cli {

/// `hako --help`, or the help of one command: options in groups, examples, exit codes. At most 100 columns.
std::string help_text(const App& app, const CLI::App& command);

}  // namespace hako::cli
