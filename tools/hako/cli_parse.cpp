#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "tools/hako/cli_app.h"
#include "tools/hako/cli_balloon.h"
#include "tools/hako/cli_bench.h"
#include "tools/hako/cli_command.h"
#include "tools/hako/cli_completion.h"
#include "tools/hako/cli_console.h"
#include "tools/hako/cli_cpus.h"
#include "tools/hako/cli_disk.h"
#include "tools/hako/cli_fs.h"
#include "tools/hako/cli_help.h"
#include "tools/hako/cli_memory.h"
#include "tools/hako/cli_nearest.h"
#include "tools/hako/cli_net.h"
#include "tools/hako/cli_number.h"
#include "tools/hako/cli_rng.h"
#include "tools/hako/cli_seed.h"
#include "tools/hako/cli_values.h"
#include "tools/hako/cli_vsock.h"

namespace hako::cli {
namespace {

constexpr std::uint64_t kMaxShutdownSeconds = 86400;
/// An error line is cut here: values may be of any length.
constexpr std::size_t kMaxErrorLine = 1024;

/// "path=" may stand before a path, as Cloud Hypervisor's clients write it.
Result<std::variant<std::string, int>> parse_path_or_fd(const char* name, std::string_view text) {
    constexpr std::string_view kFd = "fd=";
    constexpr std::string_view kPath = "path=";
    if (text.starts_with(kFd)) {
        const auto fd = parse_number(text.substr(kFd.size()), 0, std::numeric_limits<int>::max());
        if (!fd) return fail_input("{} {}: fd= takes the number of an open descriptor", name, text);
        return static_cast<int>(*fd);
    }
    const std::string_view path = text.starts_with(kPath) ? text.substr(kPath.size()) : text;
    if (path.empty()) return fail_input("{} {}: the path is empty", name, text);
    return std::string(path);
}

unsigned verbosity(const App& app) {
    return static_cast<unsigned>(std::clamp(app.verbosity, 0, 2));
}

/// The first of the options given that say what the VM is.
const char* vm_option(const App& app) {
    const std::pair<const char*, const App::Values*> options[] = {{"--kernel", &app.kernel},
                                                                  {"--initrd", &app.initrd},
                                                                  {"--cmdline", &app.cmdline},
                                                                  {"--cpus", &app.cpus},
                                                                  {"--memory", &app.memory},
                                                                  {"--disk", &app.disk},
                                                                  {"--net", &app.net},
                                                                  {"--rng", &app.rng},
                                                                  {"--balloon", &app.balloon},
                                                                  {"--serial", &app.serial},
                                                                  {"--console", &app.console},
                                                                  {"--port", &app.port},
                                                                  {"--vsock", &app.vsock},
                                                                  {"--fs", &app.fs},
                                                                  {"--cloud-init", &app.cloud_init},
                                                                  {"--helper-disk", &app.helper_disk}};
    for (const auto& [name, values] : options)
        if (!values->empty()) return name;
    return app.watchdog ? "--watchdog" : nullptr;
}

/// Each place is one console's.
Result<> check_places(const MachineConfig& machine) {
    std::vector<const console::Config*> all = {&machine.serial};
    for (const auto& device : machine.consoles) {
        all.push_back(&device.console);
        for (const auto& port : device.ports)
            all.push_back(&port.host);
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (all[i]->mode == console::Mode::kTty && all[j]->mode == console::Mode::kTty)
                return fail_input(
                    "--serial, --console and --port: one of them has the terminal (--serial, if it is not "
                    "given): give the others another place");
            if (!all[i]->socket.empty() && all[i]->socket == all[j]->socket)
                return fail_input(
                    "--serial, --console and --port: the socket {} is given twice: each needs "
                    "its own",
                    all[i]->socket);
        }
    }
    return {};
}

Result<> read_machine(const App& app, RunCommand& command) {
    MachineConfig& machine = command.machine;
    HAKO_TRY(read_text("--kernel", app.kernel, machine.payload.kernel));
    HAKO_TRY(read_text("--initrd", app.initrd, machine.payload.initrd));
    if (app.cmdline != App::Values{""})
        HAKO_TRY(read_text("--cmdline", app.cmdline, machine.payload.command_line));
    if (const std::string* value = HAKO_TRY(single("--cpus", app.cpus)))
        machine.cpus = HAKO_TRY(parse_cpus(*value));
    if (const std::string* value = HAKO_TRY(single("--memory", app.memory)))
        machine.memory = HAKO_TRY(parse_memory(*value));
    machine.disks = HAKO_TRY(parse_disks(app.disk));
    machine.nets = HAKO_TRY(parse_nets(app.net));
    if (machine.disks.size() + machine.nets.size() > kMaxDisks)
        return fail_input("--disk and --net are given {} times: a VM has at most {} devices",
                          machine.disks.size() + machine.nets.size(), kMaxDisks);
    if (const std::string* value = HAKO_TRY(single("--rng", app.rng)))
        machine.rng = HAKO_TRY(parse_rng(*value));
    if (const std::string* value = HAKO_TRY(single("--balloon", app.balloon))) {
        machine.balloon = HAKO_TRY(parse_balloon(*value));
        HAKO_TRY_WRAP(virtio::balloon::check(*machine.balloon, machine.memory), "--balloon {}", *value);
    }
    if (app.watchdog) machine.watchdog.emplace();
    machine.serial.mode = console::Mode::kTty;
    if (const std::string* value = HAKO_TRY(single("--serial", app.serial)))
        machine.serial = HAKO_TRY(parse_console("--serial", *value));
    const std::string* const console = HAKO_TRY(single("--console", app.console));
    if (auto config = HAKO_TRY(parse_virtio_console(console, app.port)))
        machine.consoles.push_back(*std::move(config));
    HAKO_TRY(check_places(machine));
    if (const std::string* value = HAKO_TRY(single("--vsock", app.vsock)))
        machine.vsocks.push_back(HAKO_TRY(parse_vsock(*value)));
    machine.fs = HAKO_TRY(parse_fs(app.fs));
    if (const std::string* value = HAKO_TRY(single("--cloud-init", app.cloud_init)))
        command.cloud_init = HAKO_TRY(parse_seed_paths(*value));
    command.helper_disks = HAKO_TRY(parse_helper_folders(app.helper_disk));

    if (machine.payload.kernel.empty())
        return fail_input(
            "--kernel is missing: the bzImage (vmlinuz) or ELF kernel to boot; see `hako run --help`");
    return {};
}

Result<Command> run_command(const App& app) {
    RunCommand command;
    const std::string* const config = HAKO_TRY(single("--config", app.config));
    if (config != nullptr) {
        command.config = *config;
        if (const char* const other = vm_option(app))
            return fail_input("--config {} and {}: the file says all of the VM: give one of them", *config,
                              other);
    } else {
        HAKO_TRY(read_machine(app, command));
    }
    if (const std::string* value = HAKO_TRY(single("--api-socket", app.api_socket)))
        command.api_socket = HAKO_TRY(parse_path_or_fd("--api-socket", *value));

    auto timeout = static_cast<std::uint64_t>(command.shutdown_timeout.count());
    HAKO_TRY(read_number("--shutdown-timeout", app.shutdown_timeout, 0, kMaxShutdownSeconds, timeout));
    command.shutdown_timeout = std::chrono::seconds(timeout);
    command.check = app.check;
    command.no_reboot = app.no_reboot;
    command.verbosity = verbosity(app);
    return command;
}

Result<DirtyLogMode> parse_dirty_log(std::string_view value) {
    for (const auto mode :
         {DirtyLogMode::kClassic, DirtyLogMode::kManual, DirtyLogMode::kInitiallySet, DirtyLogMode::kRing})
        if (text(mode) == value) return mode;
    return fail_input("--dirty-log {}: must be classic, manual, initially-set or ring", value);
}

/// `persona`: under the name of cloud-hypervisor.
Result<Command> serve_command(const App& app, bool persona) {
    ServeCommand command;
    const std::string* const socket = HAKO_TRY(single("--api-socket", app.api_socket));
    if (socket == nullptr)
        return fail_input(
            "--api-socket is missing: the path of the socket to serve; see `hako serve --help`");
    command.api_socket = HAKO_TRY(parse_path_or_fd("--api-socket", *socket));
    if (const std::string* value = HAKO_TRY(single("--event-monitor", app.event_monitor)))
        command.event_monitor = HAKO_TRY(parse_path_or_fd("--event-monitor", *value));
    if (const std::string* value = HAKO_TRY(single("--log-file", app.log_file))) command.log_file = *value;
    if (const std::string* value = HAKO_TRY(single("--seccomp", app.seccomp)))
        if (*value != "true" && *value != "false" && *value != "log" && *value != "errno")
            return fail_input("--seccomp {}: must be true, false, log or errno", *value);
    if (const std::string* value = HAKO_TRY(single("--dirty-log", app.dirty_log)))
        command.dirty_log = HAKO_TRY(parse_dirty_log(*value));
    command.outlive_vm = !persona || app.no_shutdown;
    command.verbosity = verbosity(app);
    return command;
}

Result<Command> ctl_command(const App& app) {
    CtlCommand command{.json = app.json};
    if (app.ctl_words.empty())
        return fail_input("ctl: what shall be done? ping, info, create, boot …; see `hako ctl --help`");
    command.verb = find_ctl_verb(app.ctl_words.front());
    if (command.verb == nullptr) {
        std::vector<std::string_view> names;
        for (const CtlVerb& verb : ctl_verbs())
            names.push_back(verb.name);
        return fail_input("ctl {}: no such verb{} (see `hako ctl --help`)", app.ctl_words.front(),
                          did_you_mean(app.ctl_words.front(), names));
    }
    command.words.assign(app.ctl_words.begin() + 1, app.ctl_words.end());
    const std::string* const socket = HAKO_TRY(single("--api-socket", app.api_socket));
    if (socket == nullptr) return fail_input("ctl: --api-socket is missing: the path of the VM's socket");
    command.api_socket = *socket;
    return command;
}

Result<Command> snapshot_command(const App& app) {
    const auto& words = app.snapshot_words;
    if (words.empty() || words.front() != "merge")
        return fail_input("snapshot: what shall be done? merge BASE DIFF... OUT");
    if (words.size() < 4)
        return fail_input("snapshot merge: give a full snapshot, those that follow it, and a new folder");
    return SnapshotCommand{.folders = {words.begin() + 1, words.end() - 1}, .out = words.back()};
}

Result<Command> state_command(const App& app) {
    if (app.state_words.empty() || app.state_words.front() != "show")
        return fail_input("state: what shall be done? show FILE");
    if (app.state_words.size() != 2) return fail_input("state show: give one file");
    return StateCommand{.path = app.state_words.back()};
}

Result<Command> completion_command(const App& app) {
    const std::string* shell = HAKO_TRY(single("completion", app.shell));
    if (shell == nullptr) return fail_input("completion: which shell? bash, zsh or fish");
    if (*shell == "bash") return PrintCommand{bash_completion(app)};
    if (*shell == "zsh") return PrintCommand{zsh_completion(app)};
    if (*shell == "fish") return PrintCommand{fish_completion(app)};
    return fail_input("completion {}: must be bash, zsh or fish", *shell);
}

std::unexpected<Error> unknown_argument(const CLI::App& command, const std::string& argument) {
    const std::string name = argument.substr(0, argument.find('='));
    if (!name.starts_with('-'))
        return fail_input("{}: hako {} takes no such argument; see `hako {} --help`", argument,
                          command.get_name(), command.get_name());
    const std::vector<OptionView> options = visible_options(command);
    std::vector<std::string_view> names;
    for (const OptionView& option : options)
        if (!option.long_name.empty()) names.push_back(option.long_name);
    return fail_input("{}: hako {} has no such option{} (see `hako {} --help`)", name, command.get_name(),
                      did_you_mean(name, names), command.get_name());
}

std::unexpected<Error> unknown_command(const App& app, const std::string& argument) {
    std::vector<std::string> names;
    for (const CLI::App* command : commands(app.root))
        names.push_back(command->get_name());
    const std::vector<std::string_view> views(names.begin(), names.end());
    return fail_input("{}: no such {}{} (commands are {}; see `hako --help`)", argument,
                      argument.starts_with('-') ? "option before the command" : "command",
                      did_you_mean(argument, views), fmt::join(names, ", "));
}

/// CLI11 found too few values ("--kernel: 1 required PATH missing") or, for a flag, one too many ("check was
/// given …").
std::unexpected<Error> wrong_value_count(const CLI::App& root, std::string_view message) {
    const std::string name(message.substr(0, message.find_first_of(": ")));
    std::vector<const CLI::App*> all = commands(root);
    all.push_back(&root);
    for (const CLI::App* command : all) {
        for (const OptionView& option : visible_options(*command)) {
            if (option.long_name != name && option.long_name != "--" + name) continue;
            if (option.value.empty()) return fail_input("{} takes no value", option.long_name);
            return fail_input("{}: a value must follow: {}", name, option.value);
        }
    }
    return fail_input("{}", message);
}

/// Was hako started by the name that clients of Cloud Hypervisor look for?
bool is_persona(int argc, const char* const* argv) {
    if (argc < 1) return false;
    const std::string_view path = argv[0];
    return path.substr(path.find_last_of('/') + 1) == "cloud-hypervisor";
}

/// As Cloud Hypervisor prints its own, where libvirt looks for a version that knows net devices in restores.
constexpr const char* kPersonaVersion =
    "cloud-hypervisor v53.0-hako-" HAKO_VERSION "\nMigration Protocol Versions: 0\n";

/// The arguments as CLI11 wants them, last first. It takes the argument after an empty "--name=" for the
/// value; given as two arguments the empty value stays one.
std::vector<std::string> arguments_backwards(int argc, const char* const* argv, bool persona) {
    std::vector<std::string> arguments;
    if (persona) arguments.emplace_back("serve");
    for (int i = 1; i < argc; ++i) {
        std::string argument = argv[i];
        const bool no_value = argument.starts_with("--") && argument.find('=') == argument.size() - 1;
        if (no_value) argument.pop_back();
        arguments.push_back(std::move(argument));
        if (no_value) arguments.emplace_back();
    }
    std::reverse(arguments.begin(), arguments.end());
    return arguments;
}

}  // namespace

Result<Command> parse(int argc, const char* const* argv) {
    App app;
    const bool persona = is_persona(argc, argv);
    try {
        app.root.parse(arguments_backwards(argc, argv, persona));
    } catch (const CLI::ArgumentMismatch& error) {
        return wrong_value_count(app.root, error.what());
    } catch (const CLI::ParseError& error) {
        return fail_input("{}", error.what());
    }
    const CLI::App* command = &app.root;
    if (const auto given = app.root.get_subcommands(); !given.empty()) command = given.front();

    if (app.help || (persona && argc == 1)) return PrintCommand{help_text(app, *command)};
    if (app.version) return PrintCommand{persona ? kPersonaVersion : "hako " HAKO_VERSION "\n"};
    if (const auto rest = app.root.remaining(false); !rest.empty()) {
        const bool behind_command = command != &app.root && !rest.front().starts_with('-');
        return behind_command ? unknown_argument(*command, rest.front()) : unknown_command(app, rest.front());
    }
    if (command == &app.root)
        return fail_input(
            "no command is given: run, serve, ctl, seed, doctor, bench, state, snapshot or completion; see "
            "`hako "
            "--help`");
    if (const auto rest = command->remaining(false); !rest.empty())
        return unknown_argument(*command, rest.front());

    if (command == app.run) return run_command(app);
    if (command == app.ctl) return ctl_command(app);
    if (command == app.serve) return serve_command(app, persona);
    if (command == app.seed) return seed_command(app);
    if (command == app.doctor) return DoctorCommand{.json = app.json};
    if (command == app.bench) return bench_command(app);
    if (command == app.state) return state_command(app);
    if (command == app.snapshot) return snapshot_command(app);
    return completion_command(app);
}

std::string error_line(const Error& error) {
    std::string line = "hako: ";
    for (const char c : error.text()) {
        if (line.size() >= kMaxErrorLine) {
            line += " …";
            break;
        }
        if (std::iscntrl(static_cast<unsigned char>(c)) != 0) {
            line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        } else {
            line += c;
        }
    }
    return line + '\n';
}

}  // namespace hako::cli
