#include "tools/hako/run.h"

#include <fmt/core.h>
#include <time.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>

#include "devices/console/backend.h"
#include "vmm/base/log.h"
#include "vmm/boot/loader.h"
#include "vmm/machine/machine.h"

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

/// The control thread's view of one `hako run`: signals, timers, the console, and the machine's lives.
class Session final : private MachineListener {
  public:
    Session(const cli::RunCommand& command, MachineConfig config)
        : command_(command),
          config_(std::move(config)),
          signals_(io_, SIGTERM, SIGINT, SIGHUP),
          deadline_(io_),
          disk_timer_(io_) {}

    Result<ExitCode> run() {
        console_ = HAKO_TRY(console::Backend::open(io_, config_.serial, [this] { shut_down(); }));
        if (config_.serial.mode == console::Mode::kPty)
            fmt::print(stderr, "hako: the serial port is {}\n", console_->path());
        HostResources resources = HAKO_TRY(HostResources::open(config_));
        HAKO_TRY(start(config_, std::move(resources)));
        wait_for_signal();
        watch_disks();
        io_.run();
        end_life();
        if (failure_) return std::unexpected(std::move(*failure_));
        fmt::print(stderr, "hako: {}\n", last_words_);
        return exit_code_;
    }

  private:
    // MachineListener, on vCPU threads.
    void machine_ended(const MachineEnd& end) override {
        boost::asio::post(io_, [this, end] { ended(end); });
    }
    void slot_ejected(std::uint8_t slot) override {
        boost::asio::post(io_, [this, slot] { machine_->finish_removal(slot); });
    }

    Result<> start(MachineConfig config, HostResources resources) {
        console::Sink* const sink = config.serial.mode == console::Mode::kOff ? nullptr : console_.get();
        machine_ = HAKO_TRY(Machine::create(std::move(config), std::move(resources), sink, *this));
        if (machine_->serial() != nullptr) console_->start(*machine_->serial());
        log_start();
        machine_->resume();
        return {};
    }

    /// The moment on the clock that a benchmark can compare with the one before exec.
    static void log_start() {
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        log_info("vCPUs start at {}.{:09} (CLOCK_MONOTONIC)", now.tv_sec, now.tv_nsec);
    }

    void ended(const MachineEnd& end) {
        switch (end.kind) {
            case MachineEnd::Kind::kPowerOff:
                return finish(ExitCode::kPowerOff, "the guest powered off");
            case MachineEnd::Kind::kReset:
                if (command_.no_reboot) return finish(ExitCode::kReboot, "the guest asked for a reboot");
                return reboot();
            case MachineEnd::Kind::kPanic:
                return finish(ExitCode::kGuestPanic, "the guest's kernel panicked (its console tells why)");
            case MachineEnd::Kind::kTripleFault:
                return finish(ExitCode::kTripleFault, end.detail);
            case MachineEnd::Kind::kKvmError:
                return finish(ExitCode::kKvmInternalError, end.detail);
        }
    }

    void reboot() {
        log_info("the guest reboots");
        Machine::Legacy legacy = end_life();
        if (auto started = start(std::move(legacy.config), std::move(legacy.resources)); !started) {
            failure_ = std::move(started).error().wrap("reboot");
            io_.stop();
        }
    }

    /// Stops the machine, then the console, so that the guest's last bytes come out and the terminal is given
    /// back before hako says anything on it.
    Machine::Legacy end_life() {
        Machine::Legacy legacy;
        if (machine_) legacy = machine_->stop();
        console_->stop();
        machine_.reset();
        return legacy;
    }

    void wait_for_signal() {
        signals_.async_wait([this](const boost::system::error_code& error, int) {
            if (error) return;
            shut_down();
            wait_for_signal();
        });
    }

    /// Asks the guest first; the second time, or when it takes too long, does not ask.
    void shut_down() {
        if (shutting_down_)
            return finish(ExitCode::kShutdownTimeout, "stopped before the guest had shut down");
        shutting_down_ = true;
        log_info("pressing the power button; the guest has {} s", command_.shutdown_timeout.count());
        machine_->press_power_button();
        deadline_.expires_after(command_.shutdown_timeout);
        deadline_.async_wait([this](const boost::system::error_code& error) {
            if (error) return;
            finish(ExitCode::kShutdownTimeout, fmt::format("stopped: the guest did not shut down within {} s",
                                                           command_.shutdown_timeout.count()));
        });
    }

    void watch_disks() {
        if (config_.disks.empty()) return;
        disk_timer_.expires_after(kDiskInterval);
        disk_timer_.async_wait([this](const boost::system::error_code& error) {
            if (error) return;
            machine_->refresh_disks();
            watch_disks();
        });
    }

    void finish(ExitCode code, std::string words) {
        exit_code_ = code;
        last_words_ = std::move(words);
        io_.stop();
    }

    const cli::RunCommand& command_;
    const MachineConfig config_;
    boost::asio::io_context io_{1};
    boost::asio::signal_set signals_;
    boost::asio::steady_timer deadline_;
    boost::asio::steady_timer disk_timer_;
    std::unique_ptr<console::Backend> console_;  ///< outlives the machine, whose serial port writes into it
    std::unique_ptr<Machine> machine_;
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
    Session session(command, std::move(config));
    return session.run();
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
