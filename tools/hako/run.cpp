#include "tools/hako/run.h"

#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>

#include "api/http/server.h"
#include "api/router/router.h"
#include "api/routes/device_routes.h"
#include "api/routes/vm_routes.h"
#include "vmm/base/log.h"
#include "vmm/boot/loader.h"
#include "vmm/machine/instance.h"

namespace hako {
namespace {

/// How often the images' sizes are looked at. A rare thing, so a rare look.
constexpr std::chrono::seconds kDiskInterval{2};

Result<MachineConfig> complete_config(const cli::RunCommand& command) {
    MachineConfig config = command.machine;
    if (command.cloud_init) {
        const cli::SeedPaths& paths = *command.cloud_init;
        config.cloud_init = HAKO_TRY_WRAP(
            seed::from_files(paths.user_data, paths.meta_data, paths.network_config), "--cloud-init");
    }
    return config;
}

/// All that can be known without KVM: the images open and lock, the seed builds, the kernel loads.
Result<> check(const MachineConfig& config) {
    HAKO_TRY(HostResources::open(config));
    HAKO_TRY(boot::check(config.payload, config.memory.size));
    return {};
}

/// The control thread's view of one `hako run`: signals, timers, and what the VM's end means.
class Session {
  public:
    explicit Session(const cli::RunCommand& command)
        : command_(command), signals_(io_, SIGTERM, SIGINT, SIGHUP), deadline_(io_), disk_timer_(io_) {}

    Result<ExitCode> run(MachineConfig config) {
        InstanceEvents events{.ended = [this](const MachineEnd& end) { ended(end); },
                              .reboot_failed =
                                  [this](Error error) {
                                      failure_ = std::move(error);
                                      io_.stop();
                                  },
                              .quit_typed = [this] { shut_down(); }};
        instance_ = HAKO_TRY(
            Instance::create(io_, std::move(config), {.reboot = !command_.no_reboot}, std::move(events)));
        if (instance_->config().serial.mode == console::Mode::kPty)
            fmt::print(stderr, "hako: the serial port is {}\n", instance_->serial_path());
        for (const auto& console : instance_->config().consoles) {
            if (console.console.mode == console::Mode::kPty)
                fmt::print(stderr, "hako: the console is {}\n", instance_->console_path(console.id));
        }
        HAKO_TRY(serve_api());
        HAKO_TRY(instance_->boot());
        wait_for_signal();
        watch_disks();
        io_.run();
        server_.reset();
        instance_.reset();
        if (failure_) return std::unexpected(std::move(*failure_));
        fmt::print(stderr, "hako: {}\n", last_words_);
        return exit_code_;
    }

  private:
    Result<> serve_api() {
        if (!command_.api_socket) return {};
        api::add_vm_routes(router_, *instance_);
        api::add_device_routes(router_, *instance_);
        SocketSpec socket;
        if (const int* fd = std::get_if<int>(&*command_.api_socket)) {
            socket = Fd(*fd);
        } else {
            socket = std::get<std::string>(*command_.api_socket);
        }
        server_.emplace(HAKO_TRY_WRAP(api::http::Server::listen(io_, std::move(socket),
                                                                [this](api::http::Request& request) {
                                                                    return router_.answer(request);
                                                                }),
                                      "--api-socket"));
        return {};
    }

    void ended(const MachineEnd& end) {
        switch (end.kind) {
            case MachineEnd::Kind::kPowerOff:
                return finish(ExitCode::kPowerOff, "the guest powered off");
            case MachineEnd::Kind::kReset:
                return finish(ExitCode::kReboot, "the guest asked for a reboot");
            case MachineEnd::Kind::kPanic:
                return finish(ExitCode::kGuestPanic, "the guest's kernel panicked (its console tells why)");
            case MachineEnd::Kind::kTripleFault:
                return finish(ExitCode::kTripleFault, end.detail);
            case MachineEnd::Kind::kKvmError:
                return finish(ExitCode::kKvmInternalError, end.detail);
        }
    }

    void wait_for_signal() {
        signals_.async_wait([this](const boost::system::error_code& error, int) {
            if (error) return;
            shut_down();
            wait_for_signal();
        });
    }

    /// Asks the guest first; the second time, or when it takes too long or cannot be asked, does not ask.
    void shut_down() {
        if (shutting_down_ || !instance_->press_power_button())
            return finish(ExitCode::kShutdownTimeout, "stopped before the guest had shut down");
        shutting_down_ = true;
        log_info("pressed the power button; the guest has {} s", command_.shutdown_timeout.count());
        deadline_.expires_after(command_.shutdown_timeout);
        deadline_.async_wait([this](const boost::system::error_code& error) {
            if (error) return;
            finish(ExitCode::kShutdownTimeout, fmt::format("stopped: the guest did not shut down within {} s",
                                                           command_.shutdown_timeout.count()));
        });
    }

    void watch_disks() {
        disk_timer_.expires_after(kDiskInterval);
        disk_timer_.async_wait([this](const boost::system::error_code& error) {
            if (error) return;
            if (const auto machine = instance_->machine()) (*machine)->refresh_disks();
            watch_disks();
        });
    }

    void finish(ExitCode code, std::string words) {
        exit_code_ = code;
        last_words_ = std::move(words);
        io_.stop();
    }

    const cli::RunCommand& command_;
    boost::asio::io_context io_{1};
    boost::asio::signal_set signals_;
    boost::asio::steady_timer deadline_;
    boost::asio::steady_timer disk_timer_;
    std::unique_ptr<Instance> instance_;
    api::Router router_;
    std::optional<api::http::Server> server_;
    bool shutting_down_ = false;
    ExitCode exit_code_ = ExitCode::kHostFailure;
    std::string last_words_;
    std::optional<Error> failure_;
};

Result<ExitCode> run_or_check(const cli::RunCommand& command) {
    MachineConfig config = HAKO_TRY(complete_config(command));
    if (command.check) {
        HAKO_TRY(check(config));
        fmt::print("The input is good: {} vCPUs, {} of memory, {} disks, {} network interfaces.\n",
                   config.cpus.count, format_size(config.memory.size), config.disks.size(),
                   config.nets.size());
        return ExitCode::kPowerOff;
    }
    Session session(command);
    return session.run(std::move(config));
}

}  // namespace

ExitCode run_machine(const cli::RunCommand& command) {
    set_log_level(command.verbosity == 0   ? LogLevel::kWarn
                  : command.verbosity == 1 ? LogLevel::kInfo
                                           : LogLevel::kDebug);
    const Result<ExitCode> result = run_or_check(command);
    if (result) return *result;
    fmt::print(stderr, "{}", cli::error_line(result.error()));
    return exit_code(result.error().fault());
}

}  // namespace hako
