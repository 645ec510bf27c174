// Completion scripts for shells, made from the options as declared.
#pragma once

#include <string>

#include "tools/hako/cli_app.h"

namespace hako::cli {

std::string bash_completion(const App& app);
std::string zsh_completion(const App& app);
std::string fish_completion(const App& app);

}  // namespace hako::cli
