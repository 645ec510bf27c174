// The options hako has: the one declaration that parsing, help and shell completion share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace hako::cli {

/// Declares the options to CLI11 and holds what it found. Values stay text: cli_parse.cpp gives them meaning.
struct App {
    App();
    App(const App&) = delete;
    App& operator=(const App&) = delete;

    using Values = std::vector<std::string>;

    CLI::App root;
    CLI::App* run = nullptr;
    CLI::App* serve = nullptr;
    CLI::App* ctl = nullptr;
    CLI::App* seed = nullptr;
    CLI::App* doctor = nullptr;
    CLI::App* bench = nullptr;
    CLI::App* state = nullptr;
    CLI::App* snapshot = nullptr;
    CLI::App* completion = nullptr;

    bool help = false;
    bool version = false;

    Values kernel, initrd, cmdline, cpus, memory, disk, net, rng, balloon, serial, console, port, vsock, fs,
        cloud_init, helper_disk, output, config, api_socket, shutdown_timeout, event_monitor, log_file,
        seccomp, dirty_log;
    bool check = false;
    bool no_reboot = false;
    bool watchdog = false;
    bool no_shutdown = false;
    int verbosity = 0;

    bool json = false;

    Values subject, image, peer, daemon, directory, size, job, rounds, seconds;

    Values shell;
    Values ctl_words;
    Values state_words;
    Values snapshot_words;
    Values seed_words;
};

/// One option as help and completion show it.
struct OptionView {
    std::string short_name;  ///< "-v", or ""
    std::string long_name;   ///< "--verbose"; "" for a positional
    std::string value;       ///< what follows it: "PATH", "tty|pty|off"; "" for a flag
    std::string description;
    std::string group;

    /// True if its value is a file's name.
    [[nodiscard]] bool takes_path() const { return value.starts_with("PATH"); }
    /// The words its value may be, if it is one of a few; "file=PATH" comes out as "file=".
    [[nodiscard]] std::vector<std::string> choices() const;
};

/// The options of a command that are not hidden, in the order of their declaration.
std::vector<OptionView> visible_options(const CLI::App& command);
/// The commands of the program, in the order of their declaration.
std::vector<const CLI::App*> commands(const CLI::App& root);

}  // namespace hako::cli
