// --serial
#pragma once

#include <string_view>

#include "devices/console/config.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// "tty", "file=PATH", "pty" or "off".
Result<console::Config> parse_serial(std::string_view text);

}  // namespace hako::cli
