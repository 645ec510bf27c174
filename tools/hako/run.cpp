#include "tools/hako/run.h"

#include <fmt/core.h>

#include <utility>
#include <variant>

#include "tools/hako/config_file.h"
#include "tools/hako/helper_disks.h"
#include "tools/hako/session.h"
#include "vmm/base/log.h"
#include "vmm/boot/loader.h"

namespace hako {
namespace {

/// From the options, or as the file says it.
using Wanted = std::variant<MachineConfig, api::VmConfig>;

Result<Wanted> wanted_vm(const cli::RunCommand& command) {
    if (command.config) return read_config_file(*command.config);
    MachineConfig config = command.machine;
    config.helpers = HAKO_TRY(build_helpers(command.cloud_init, command.helper_disks));
    return config;
}

/// All that can be known without KVM: the images open and lock, the kernel loads.
Result<> check(const MachineConfig& config) {
    HAKO_TRY(HostResources::open(config));
    HAKO_TRY(boot::check(config.payload, config.memory.size));
    fmt::print("The input is good: {} vCPUs, {} of memory, {} disks, {} network interfaces.\n",
               config.cpus.count, format_size(config.memory.size), config.disks.size(), config.nets.size());
    return {};
}

Result<> check(const api::VmConfig& config) {
    return check(HAKO_TRY(api::to_machine(config)));
}

Result<ExitCode> run_or_check(const cli::RunCommand& command) {
    Wanted wanted = HAKO_TRY(wanted_vm(command));
    if (command.check) {
        HAKO_TRY(std::visit([](const auto& config) { return check(config); }, wanted));
        return ExitCode::kPowerOff;
    }
    Session session({.api_socket = command.api_socket,
                     .reboot = !command.no_reboot,
                     .outlive_vm = false,
                     .shutdown_timeout = command.shutdown_timeout});
    session.events().add("vmm", "starting");
    HAKO_TRY(std::visit([&](auto& config) { return session.vmm().create(std::move(config)); }, wanted));
    const Instance* const instance = HAKO_TRY(session.vmm().instance());
    if (instance->config().serial.mode == console::Mode::kPty)
        fmt::print(stderr, "hako: the serial port is {}\n", instance->serial_path());
    for (const auto& console : instance->config().consoles) {
        if (console.console.mode == console::Mode::kPty)
            fmt::print(stderr, "hako: the console is {}\n", instance->console_path(console.id));
    }
    HAKO_TRY(session.listen());
    HAKO_TRY(session.vmm().boot());
    const Session::Outcome outcome = HAKO_TRY(session.run());
    fmt::print(stderr, "hako: {}\n", outcome.words);
    return outcome.code;
}

}  // namespace

ExitCode run_machine(const cli::RunCommand& command) {
    set_verbosity(command.verbosity);
    const Result<ExitCode> result = run_or_check(command);
    if (result) return *result;
    fmt::print(stderr, "{}", cli::error_line(result.error()));
    return exit_code(result.error().fault());
}

}  // namespace hako
