#include "tools/hako/session.h"

#include <boost/asio/post.hpp>
#include <csignal>
#include <utility>

#include "api/routes/device_routes.h"
#include "api/routes/event_routes.h"
#include "api/routes/future_routes.h"
#include "api/routes/metrics_routes.h"
#include "api/routes/migration_routes.h"
#include "api/routes/snapshot_routes.h"
#include "api/routes/vm_routes.h"
#include "api/routes/vmm_routes.h"
#include "tools/hako/code_pages.h"
#include "vmm/base/log.h"

namespace hako {
namespace {

/// How often the images' sizes are looked at. A rare thing, so a rare look.
constexpr std::chrono::seconds kDiskInterval{2};

Session::Outcome outcome_of(const MachineEnd& end) {
    switch (end.kind) {
        case MachineEnd::Kind::kPowerOff:
            return {ExitCode::kPowerOff, "the guest powered off"};
        case MachineEnd::Kind::kReset:
            return {ExitCode::kReboot, "the guest asked for a reboot"};
        case MachineEnd::Kind::kWatchdog:
            return {ExitCode::kReboot, "the guest did not reload its watchdog in time"};
        case MachineEnd::Kind::kPanic:
            return {ExitCode::kGuestPanic, "the guest's kernel panicked (its console tells why)"};
        case MachineEnd::Kind::kTripleFault:
            return {ExitCode::kTripleFault, end.detail};
        case MachineEnd::Kind::kKvmError:
            return {ExitCode::kKvmInternalError, end.detail};
    }
    return {};
}

}  // namespace

Session::Session(Options options)
    : options_(std::move(options)),
      signals_(io_, SIGTERM, SIGINT, SIGHUP),
      deadline_(io_),
      disk_timer_(io_),
      vmm_(io_, events_, {.reboot = options_.reboot, .dirty_log = options_.dirty_log},
           {.ended = [this](const MachineEnd& end) { ended(end); },
            .reboot_failed =
                [this](Error error) {
                    if (options_.outlive_vm) return log_error("{}", error.text());
                    failure_ = std::move(error);
                    io_.stop();
                },
            .quit_typed = [this] { shut_down(); }}) {
    events_.subscribe([](const api::Event& event) {
        if (event.name == "booted" || event.name == "restored" || event.name == "migration-receive-finished")
            let_go_of_code();
    });
}

Result<> Session::listen() {
    if (!options_.api_socket) return {};
    api::add_vmm_routes(router_, vmm_, events_, [this] {
        boost::asio::post(io_, [this] {
            shut_down_over_api_ = true;
            finish(ExitCode::kPowerOff, "ended by vmm.shutdown");
        });
    });
    api::add_vm_routes(router_, vmm_);
    api::add_device_routes(router_, vmm_);
    api::add_snapshot_routes(router_, vmm_, snapshots_);
    api::add_migration_routes(router_, vmm_, migrations_);
    api::add_event_routes(router_, api_.io(), events_);
    api::add_metrics_routes(router_, vmm_, request_metrics_);
    api::add_future_routes(router_);
    SocketSpec socket;
    if (const int* fd = std::get_if<int>(&*options_.api_socket)) {
        socket = Fd(*fd);
    } else {
        socket = std::get<std::string>(*options_.api_socket);
    }
    const auto handler = [this](api::http::Request& request) { return answer(request); };
    HAKO_TRY_WRAP(api_.start(std::move(socket), handler), "--api-socket");
    return {};
}

/// On the API's thread.
boost::asio::awaitable<api::http::Response> Session::answer(api::http::Request& request) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    api::http::Response response = co_await router_.answer(request);
    const std::string_view path = router_.knows(request.path) ? std::string_view(request.path) : "other";
    request_metrics_.add(request.method, path, response.status, Clock::now() - start);
    co_return response;
}

Result<Session::Outcome> Session::run() {
    wait_for_signal();
    watch_disks();
    io_.run();
    const Outcome outcome = outcome_;
    vmm_.job().wait();
    Result<> removed = vmm_.remove();
    if (!shut_down_over_api_) events_.add("vmm", "shutdown");
    api_.stop();
    // What a client may have made since.
    vmm_.job().wait();
    if (removed) removed = vmm_.remove();
    if (failure_) return std::unexpected(std::move(*failure_));
    HAKO_TRY(removed);
    return outcome;
}

void Session::ended(const MachineEnd& end) {
    Outcome outcome = outcome_of(end);
    if (!options_.outlive_vm) return finish(outcome.code, std::move(outcome.words));
    log_info("{}", outcome.words);
    if (const auto down = vmm_.shut_down(); !down) log_error("{}", down.error().text());
}

void Session::moved() {
    log_info("the VM has moved to another process");
    if (!options_.outlive_vm) finish(ExitCode::kPowerOff, "the VM has moved to another process");
}

void Session::wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int) {
        if (error) return;
        shut_down();
        wait_for_signal();
    });
}

/// Asks the guest first; the second time, or when it takes too long or cannot be asked, does not ask.
void Session::shut_down() {
    if (!options_.shutdown_timeout || !vmm_.machine())
        return finish(ExitCode::kPowerOff, "ended by a signal");
    if (shutting_down_ || !vmm_.press_power_button())
        return finish(ExitCode::kShutdownTimeout, "stopped before the guest had shut down");
    shutting_down_ = true;
    const auto seconds = options_.shutdown_timeout->count();
    log_info("pressed the power button; the guest has {} s", seconds);
    deadline_.expires_after(*options_.shutdown_timeout);
    deadline_.async_wait([this, seconds](const boost::system::error_code& error) {
        if (error) return;
        finish(ExitCode::kShutdownTimeout,
               fmt::format("stopped: the guest did not shut down within {} s", seconds));
    });
}

void Session::watch_disks() {
    disk_timer_.expires_after(kDiskInterval);
    disk_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error) return;
        if (const auto machine = vmm_.machine()) (*machine)->refresh_disks();
        watch_disks();
    });
}

void Session::finish(ExitCode code, std::string words) {
    outcome_ = {code, std::move(words)};
    io_.stop();
}

}  // namespace hako
