#include "tools/hako/bench.h"

#include <fmt/core.h>
#include <sys/utsname.h>

#include <csignal>

#include "tools/hako/bench_child.h"
#include "tools/hako/cli_command.h"

namespace hako::bench {
namespace {

constexpr std::chrono::seconds kVersionLimit{60};

/// What the figures are figures of.
Result<std::string> circumstances(const Command& command) {
    utsname system{};
    ::uname(&system);
    std::string text = fmt::format("hako {}", HAKO_VERSION);
    if (!command.peer.empty()) {
        const std::string said =
            HAKO_TRY(run_program({command.peer, "--version"}, Child::Deadline::clock::now() + kVersionLimit));
        text += "; " + said.substr(0, said.find('\n'));
    }
    text += fmt::format("; Linux {}\nguests: {} CPU{}, {}; median of {} rounds of {} s each, by turns\n",
                        system.release, command.cpus, command.cpus == 1 ? "" : "s",
                        format_size(command.memory), command.rounds, command.seconds);
    return text;
}

Result<std::vector<Row>> measure(const Command& command) {
    switch (command.subject) {
        case Subject::kBlk:
            return measure_blk(command);
        case Subject::kNet:
            return measure_net(command);
        case Subject::kVsock:
            return measure_vsock(command);
        case Subject::kFs:
            return measure_fs(command);
    }
    return fail_input("no such subject");
}

Result<> measure_and_print(const Command& command) {
    const std::string head = HAKO_TRY(circumstances(command));
    const auto rows = HAKO_TRY(measure(command));
    if (command.json) {
        fmt::print("{}", json_text(rows));
    } else {
        fmt::print("{}\n{}", head, table_text(rows));
    }
    return {};
}

}  // namespace

ExitCode run_bench(const Command& command) {
    std::signal(SIGPIPE, SIG_IGN);  // a VMM may end while it is spoken to
    const Result<> result = measure_and_print(command);
    if (result) return ExitCode::kPowerOff;
    fmt::print(stderr, "{}", cli::error_line(result.error()));
    return exit_code(result.error().fault());
}

}  // namespace hako::bench
