#include "tools/hako/cli_serial.h"

namespace hako::cli {

Result<console::Config> parse_serial(std::string_view text) {
    constexpr std::string_view kFilePrefix = "file=";
    if (text == "tty") return console::Config{.mode = console::Mode::kTty, .path = {}};
    if (text == "pty") return console::Config{.mode = console::Mode::kPty, .path = {}};
    if (text == "off") return console::Config{.mode = console::Mode::kOff, .path = {}};
    if (text.starts_with(kFilePrefix) && text.size() > kFilePrefix.size())
        return console::Config{.mode = console::Mode::kFile,
                               .path = std::string(text.substr(kFilePrefix.size()))};
    return fail_input("--serial {}: must be tty, file=PATH, pty or off", text);
}

}  // namespace hako::cli
