// What the command line asked for.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tools/hako/bench_command.h"
#include "tools/hako/ctl_verbs.h"
#include "tools/hako/seed_command.h"
#include "vmm/base/result.h"
#include "vmm/machine/config.h"
#include "vmm/machine/dirty_log_mode.h"

namespace hako::cli {

/// Where the API is served: a path, or a descriptor of a listening socket.
using ApiSocket = std::variant<std::string, int>;

/// Where events are written: a path (perhaps a FIFO), or an open descriptor.
using EventMonitor = std::variant<std::string, int>;

/// `hako run`.
struct RunCommand {
    /// As the user gave it, defaults filled in; `machine.helpers` is empty (see the next two).
    MachineConfig machine;
    std::optional<SeedPaths> cloud_init;
    std::vector<HelperFolder> helper_disks;
    std::optional<std::string> config;  ///< a file that says it all, instead of all of the above
    std::optional<ApiSocket> api_socket;
    bool check = false;      ///< validate only, without touching KVM
    bool no_reboot = false;  ///< end when the guest asks for a reboot
    std::chrono::seconds shutdown_timeout{30};
    unsigned verbosity = 0;  ///< how often -v was given: 0 warnings, 1 info, 2 and more debug
};

/// `hako serve`, or hako by the name of cloud-hypervisor.
struct ServeCommand {
    ApiSocket api_socket;
    std::optional<EventMonitor> event_monitor;
    std::optional<std::string> log_file;
    bool outlive_vm = true;                                ///< stay when the guest has ended its VM
    DirtyLogMode dirty_log = DirtyLogMode::kInitiallySet;  ///< if this host has it
    unsigned verbosity = 0;
};

/// `hako ctl`.
struct CtlCommand {
    std::string api_socket;  ///< path
    bool json = false;       ///< print answers as they come
    const CtlVerb* verb = nullptr;
    std::vector<std::string> words;  ///< the verb's arguments
};

/// `hako doctor`.
struct DoctorCommand {
    bool json = false;
};

/// `hako state`.
struct StateCommand {
    std::string path;  ///< of the file to show
};

/// `hako snapshot`.
struct SnapshotCommand {
    std::vector<std::string> folders;  ///< oldest first
    std::string out;                   ///< folder
};

/// Help, version, a completion script: a text for stdout, then exit code 0.
struct PrintCommand {
    std::string text;
};

using Command = std::variant<RunCommand, ServeCommand, CtlCommand, SeedCommand, DoctorCommand, StateCommand,
                             SnapshotCommand, bench::Command, PrintCommand>;

/// Reads a command line. If `argv[0]` names cloud-hypervisor, it is one of `hako serve`. Fails with
/// Fault::kInput and one line that names the option and the value and says what is allowed. Opens no file.
Result<Command> parse(int argc, const char* const* argv);

/// "hako: …" and a newline: an error for stderr, on one line whatever bytes the user's values hold.
std::string error_line(const Error& error);

}  // namespace hako::cli
