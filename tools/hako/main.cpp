// hako: the command line's entry.
#include <fmt/core.h>
#include <malloc.h>
#include <pthread.h>

#include <variant>

#include "devices/console/terminal.h"
#include "tools/hako/bench.h"
#include "tools/hako/cli_command.h"
#include "tools/hako/ctl.h"
#include "tools/hako/doctor.h"
#include "tools/hako/exit_code.h"
#include "tools/hako/run.h"
#include "tools/hako/seed.h"
#include "tools/hako/serve.h"
#include "tools/hako/snapshot_merge.h"
#include "tools/hako/state_show.h"

namespace {

using namespace hako;

ExitCode run(const cli::RunCommand& command) {
    return run_machine(command);
}
ExitCode run(const cli::ServeCommand& command) {
    return serve(command);
}
ExitCode run(const cli::CtlCommand& command) {
    return control(command);
}
ExitCode run(const cli::SeedCommand& command) {
    return run_seed(command);
}
ExitCode run(const cli::DoctorCommand& command) {
    const doctor::Report report = doctor::run_checks();
    fmt::print("{}", command.json ? doctor::json_text(report) : doctor::human_text(report));
    return report.usable() ? ExitCode::kPowerOff : ExitCode::kHostFailure;
}
ExitCode run(const bench::Command& command) {
    return bench::run_bench(command);
}
ExitCode run(const cli::StateCommand& command) {
    return show_state(command);
}
ExitCode run(const cli::SnapshotCommand& command) {
    return merge_snapshots(command);
}
ExitCode run(const cli::PrintCommand& command) {
    fmt::print("{}", command.text);
    return ExitCode::kPowerOff;
}

/// Devices come and go with large buffers: they go back to the host with their device. (By default glibc
/// learns to keep what was freed once.) And no stack is so large that the kernel may put a huge page there.
void stay_small() {
    constexpr int kLargeBuffer = 128 * 1024;
    constexpr int kArenas = 2;
    constexpr std::size_t kThreadStack = 1024 * 1024;
    ::mallopt(M_MMAP_THRESHOLD, kLargeBuffer);
    ::mallopt(M_TRIM_THRESHOLD, kLargeBuffer);
    ::mallopt(M_ARENA_MAX, kArenas);
    pthread_attr_t attributes;
    if (::pthread_attr_init(&attributes) != 0) return;
    if (::pthread_attr_setstacksize(&attributes, kThreadStack) == 0)
        ::pthread_setattr_default_np(&attributes);
    ::pthread_attr_destroy(&attributes);
}

}  // namespace

int main(int argc, char** argv) {
    stay_small();
    console::claim_standard_fds();
    const Result<cli::Command> command = cli::parse(argc, argv);
    if (!command) {
        fmt::print(stderr, "{}", cli::error_line(command.error()));
        return static_cast<int>(exit_code(command.error().fault()));
    }
    return static_cast<int>(std::visit([](const auto& chosen) { return run(chosen); }, *command));
}
