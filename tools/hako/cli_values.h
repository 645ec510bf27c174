// Options that take one plain value.
#pragma once

#include <cstdint>
#include <string>

#include "tools/hako/cli_app.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// The value of an option that may be given once; null when it was not given.
Result<const std::string*> single(const char* name, const App::Values& values);
/// Leaves `text` alone when the option was not given.
Result<> read_text(const char* name, const App::Values& values, std::string& text);
/// Leaves `number` alone when the option was not given.
Result<> read_number(const char* name, const App::Values& values, std::uint64_t min, std::uint64_t max,
                     std::uint64_t& number);

}  // namespace hako::cli
