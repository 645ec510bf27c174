// hako: the command line's entry.
#include <fmt/core.h>

#include <variant>

#include "devices/console/terminal.h"
#include "tools/hako/cli_command.h"
#include "tools/hako/doctor.h"
#include "tools/hako/exit_code.h"
#include "tools/hako/run.h"

namespace {

using namespace hako;

ExitCode run(const cli::RunCommand& command) {
    return run_machine(command);
}
ExitCode run(const cli::DoctorCommand& command) {
    const doctor::Report report = doctor::run_checks();
    fmt::print("{}", command.json ? doctor::json_text(report) : doctor::human_text(report));
    return report.usable() ? ExitCode::kPowerOff : ExitCode::kHostFailure;
}
ExitCode run(const cli::PrintCommand& command) {
    fmt::print("{}", command.text);
    return ExitCode::kPowerOff;
}

}  // namespace

int main(int argc, char** argv) {
    console::claim_standard_fds();
    const Result<cli::Command> command = cli::parse(argc, argv);
    if (!command) {
        fmt::print(stderr, "{}", cli::error_line(command.error()));
        return static_cast<int>(exit_code(command.error().fault()));
    }
    return static_cast<int>(std::visit([](const auto& chosen) { return run(chosen); }, *command));
}
