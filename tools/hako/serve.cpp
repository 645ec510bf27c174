#include "tools/hako/serve.h"

#include <fmt/core.h>

#include "tools/hako/session.h"
#include "vmm/base/log.h"

namespace hako {
namespace {

Result<ExitCode> run(const cli::ServeCommand& command) {
    Session session({.api_socket = command.api_socket, .outlive_vm = command.outlive_vm});
    HAKO_TRY(session.listen());
    const Session::Outcome outcome = HAKO_TRY(session.run());
    if (outcome.code != ExitCode::kPowerOff) fmt::print(stderr, "hako: {}\n", outcome.words);
    return outcome.code;
}

}  // namespace

ExitCode serve(const cli::ServeCommand& command) {
    set_verbosity(command.verbosity);
    const Result<ExitCode> result = run(command);
    if (result) return *result;
    fmt::print(stderr, "{}", cli::error_line(result.error()));
    return exit_code(result.error().fault());
}

}  // namespace hako
