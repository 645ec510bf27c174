#include "tools/hako/cli_console.h"

#include <algorithm>
#include <array>

#include "tools/hako/cli_key_values.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"file"sv, "socket"sv};
constexpr std::array kPortKeys = {"name"sv, "file"sv, "socket"sv};
constexpr std::array kBare = {"mode"sv};
constexpr std::string_view kAllowed = "tty, pty, file=PATH, socket=PATH, null or off";
/// sun_path without its end mark.
constexpr std::size_t kMaxSocketPath = 107;
/// What swallows everything.
constexpr std::string_view kNullDevice = "/dev/null";

bool name_characters(std::string_view text) {
    return std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.';
    });
}

Result<console::Config> read_console(const KeyValues& values) {
    console::Config config;
    HAKO_TRY(values.read_text("file", config.path));
    HAKO_TRY(values.read_text("socket", config.socket));
    if (config.socket.size() > kMaxSocketPath)
        return values.refuse("socket", fmt::format("a path of at most {} bytes", kMaxSocketPath));
    const std::string* const mode = values.find("mode");
    const bool has_place = !config.path.empty() || !config.socket.empty();
    if ((mode != nullptr) == has_place) return values.refuse_all(fmt::format("must be {}", kAllowed));
    if (mode == nullptr) {
        config.mode = config.path.empty() ? console::Mode::kSocket : console::Mode::kFile;
    } else if (*mode == "tty") {
        config.mode = console::Mode::kTty;
    } else if (*mode == "pty") {
        config.mode = console::Mode::kPty;
    } else if (*mode == "null") {
        config.mode = console::Mode::kFile;
        config.path = kNullDevice;
    } else if (*mode != "off") {
        return values.refuse_all(fmt::format("must be {}", kAllowed));
    }
    return config;
}

Result<virtio::console::PortConfig> parse_port(std::string_view text) {
    constexpr KeyValueSyntax kSyntax = {.option = "--port", .keys = kPortKeys, .flags = {}, .bare = kBare};
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    virtio::console::PortConfig port;
    HAKO_TRY(values.read_text("name", port.name));
    if (port.name.empty()) return values.refuse_all("name=NAME is missing: what the guest finds the port by");
    if (port.name.size() > virtio::console::kMaxPortName || !name_characters(port.name))
        return values.refuse("name", fmt::format("at most {} letters, digits, '.', '_' or '-'",
                                                 virtio::console::kMaxPortName));
    port.host = HAKO_TRY(read_console(values));
    if (port.host.mode == console::Mode::kOff)
        return values.refuse_all("a port that is off is none: leave it out, or give null");
    return port;
}

}  // namespace

Result<console::Config> parse_console(std::string_view option, std::string_view text) {
    const KeyValueSyntax syntax = {.option = option, .keys = kKeys, .flags = {}, .bare = kBare};
    return read_console(HAKO_TRY(KeyValues::parse(syntax, text)));
}

Result<std::optional<virtio::console::Config>> parse_virtio_console(const std::string* console,
                                                                    std::span<const std::string> ports) {
    virtio::console::Config config;
    config.id = "_console0";
    if (console != nullptr) config.console = HAKO_TRY(parse_console("--console", *console));
    if (ports.size() >= virtio::console::kMaxPorts)
        return fail_input("--port is given {} times: a VM has at most {} named ports", ports.size(),
                          virtio::console::kMaxPorts - 1);
    for (const std::string& text : ports) {
        virtio::console::PortConfig port = HAKO_TRY(parse_port(text));
        if (std::ranges::find(config.ports, port.name, &virtio::console::PortConfig::name) !=
            config.ports.end())
            return fail_input("--port {}: the name {} is taken: names must differ", text, port.name);
        config.ports.push_back(std::move(port));
    }
    if (config.console.mode == console::Mode::kOff && config.ports.empty()) return std::nullopt;
    return config;
}

}  // namespace hako::cli
