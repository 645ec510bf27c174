#include "api/schema/console.h"

#include <algorithm>
#include <string_view>

#include "api/schema/refusal.h"

namespace hako::api {
namespace {

/// A sink that is always there, for a port that nobody listens to.
constexpr std::string_view kNullDevice = "/dev/null";
/// sun_path without its end mark.
constexpr std::size_t kMaxSocketPath = 107;

bool name_characters(std::string_view text) {
    return std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.';
    });
}

Result<virtio::console::PortConfig> to_port(const ConsolePortConfig& config, const json::Place& place) {
    if (config.name.empty() || config.name.size() > virtio::console::kMaxPortName ||
        !name_characters(config.name))
        return refuse(place, "name",
                      fmt::format("1 to {} letters, digits, '.', '_' or '-'", virtio::console::kMaxPortName),
                      config.name);
    if (config.mode == ConsoleMode::kOff)
        return refuse(place, "mode", "a place, since a port that is off is none", "Off");
    const ConsoleConfig host{.mode = config.mode, .file = config.file, .socket = config.socket};
    return virtio::console::PortConfig{.name = config.name, .host = HAKO_TRY(to_machine(host, place))};
}

}  // namespace

Result<console::Config> to_machine(const ConsoleConfig& config, const json::Place& place) {
    console::Config machine;
    // Clients leave fields of other modes in.
    const bool with_socket = config.mode == ConsoleMode::kSocket ||
                             (config.mode == ConsoleMode::kFile && config.socket && !config.socket->empty());
    if (with_socket) {
        machine.socket = config.socket.value_or("");
        if (machine.socket.empty() || machine.socket.size() > kMaxSocketPath)
            return refuse(place, "socket", fmt::format("a path of 1 to {} bytes", kMaxSocketPath),
                          machine.socket);
    }
    switch (config.mode) {
        case ConsoleMode::kOff:
            break;
        case ConsoleMode::kNull:
            machine.mode = console::Mode::kFile;
            machine.path = kNullDevice;
            break;
        case ConsoleMode::kTty:
            machine.mode = console::Mode::kTty;
            break;
        case ConsoleMode::kPty:
            machine.mode = console::Mode::kPty;
            break;
        case ConsoleMode::kSocket:
            machine.mode = console::Mode::kSocket;
            break;
        case ConsoleMode::kFile:
            machine.mode = console::Mode::kFile;
            if (!config.file || config.file->empty())
                return refuse(place, "file", "the path of a file", config.file.value_or(""));
            machine.path = *config.file;
            break;
    }
    return machine;
}

Result<virtio::console::Config> to_machine(const VmAddConsole& config, const json::Place& place) {
    virtio::console::Config machine;
    machine.id = config.id.value_or("");
    HAKO_TRY(check_id(place, machine.id));
    machine.pci_segment = config.pci_segment.value_or(0);
    machine.console = HAKO_TRY(
        to_machine(ConsoleConfig{.mode = config.mode, .file = config.file, .socket = config.socket}, place));
    if (config.mode == ConsoleMode::kOff && config.ports.empty())
        return fail_input("give a mode for the console, ports, or both");
    const json::Place ports{.outer = &place, .name = "ports"};
    if (config.ports.size() >= virtio::console::kMaxPorts)
        return refuse(place, "ports", fmt::format("at most {} ports", virtio::console::kMaxPorts - 1),
                      std::to_string(config.ports.size()));
    for (std::size_t index = 0; index < config.ports.size(); ++index) {
        const json::Place one{.outer = &ports, .name = {}, .index = index};
        auto port = HAKO_TRY(to_port(config.ports[index], one));
        if (std::ranges::find(machine.ports, port.name, &virtio::console::PortConfig::name) !=
            machine.ports.end())
            return refuse(one, "name", "a name of its own", port.name);
        machine.ports.push_back(std::move(port));
    }
    return machine;
}

ConsoleConfig from_machine(const console::Config& config) {
    ConsoleConfig serial{.mode = ConsoleMode::kOff};
    if (!config.socket.empty()) serial.socket = config.socket;
    switch (config.mode) {
        case console::Mode::kOff:
            break;
        case console::Mode::kTty:
            serial.mode = ConsoleMode::kTty;
            break;
        case console::Mode::kPty:
            serial.mode = ConsoleMode::kPty;
            break;
        case console::Mode::kSocket:
            serial.mode = ConsoleMode::kSocket;
            break;
        case console::Mode::kFile:
            serial.mode = config.path == kNullDevice ? ConsoleMode::kNull : ConsoleMode::kFile;
            if (serial.mode == ConsoleMode::kFile) serial.file = config.path;
            break;
    }
    return serial;
}

VmAddConsole from_machine(const virtio::console::Config& config) {
    const auto host_of = [](auto made, const console::Config& host) {
        ConsoleConfig known = from_machine(host);
        made.mode = known.mode;
        made.file = std::move(known.file);
        made.socket = std::move(known.socket);
        return made;
    };
    VmAddConsole console = host_of(VmAddConsole{.id = config.id}, config.console);
    for (const virtio::console::PortConfig& port : config.ports)
        console.ports.push_back(host_of(ConsolePortConfig{.name = port.name}, port.host));
    if (config.pci_segment != 0) console.pci_segment = config.pci_segment;
    return console;
}

}  // namespace hako::api
