// --serial, --console and --port
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "devices/console/config.h"
#include "virtio/console/config.h"
#include "vmm/base/result.h"

namespace hako::cli {

/// "tty", "pty", "null", "off", "file=PATH", "socket=PATH" or "file=PATH,socket=PATH". `option`: for
/// messages.
Result<console::Config> parse_console(std::string_view option, std::string_view text);

/// The virtio console that --console (null: not given) and each --port ask for; nothing if there is none.
/// A port's value is as above, with name=NAME.
Result<std::optional<virtio::console::Config>> parse_virtio_console(const std::string* console,
                                                                    std::span<const std::string> ports);

}  // namespace hako::cli
