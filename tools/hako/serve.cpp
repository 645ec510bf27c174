#include "tools/hako/serve.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "api/events/event_monitor.h"
#include "devices/console/stdio.h"
#include "tools/hako/session.h"
#include "vmm/base/log.h"

namespace hako {
namespace {

Result<> log_to(const std::string& path) {
    Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600));
    if (!file.valid())
        return fail_input("--log-file {}: {}: name a file that this user may write", path, errno_text(errno));
    set_log_fd(file.release());
    return {};
}

Result<api::EventMonitor> open_monitor(const cli::EventMonitor& target) {
    if (const int* const fd = std::get_if<int>(&target)) return api::EventMonitor::open(Fd(*fd));
    return api::EventMonitor::open(std::get<std::string>(target));
}

Result<ExitCode> run(const cli::ServeCommand& command) {
    console::ignore_write_signals();
    if (command.log_file) HAKO_TRY(log_to(*command.log_file));
    std::optional<api::EventMonitor> monitor;
    // First of all: libvirt waits for the FIFO to be opened, and looks at the socket afterwards.
    if (command.event_monitor)
        monitor = HAKO_TRY_WRAP(open_monitor(*command.event_monitor), "--event-monitor");
    Session session(
        {.api_socket = command.api_socket, .outlive_vm = command.outlive_vm, .dirty_log = command.dirty_log});
    if (monitor) session.events().subscribe([&](const api::Event& event) { monitor->write(event); });
    session.events().add("vmm", "starting");
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
