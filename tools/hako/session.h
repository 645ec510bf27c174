// The control thread of a process with a VM: signals, timers, what clients want of the VM, and what its end
// means.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <optional>
#include <string>

#include "api/api_thread.h"
#include "api/events/event_log.h"
#include "api/metrics/request_metrics.h"
#include "api/migrations.h"
#include "api/router/router.h"
#include "api/snapshots.h"
#include "api/vmm.h"
#include "tools/hako/cli_command.h"
#include "tools/hako/exit_code.h"
#include "vmm/base/result.h"
#include "vmm/machine/dirty_log_mode.h"

namespace hako {

class Session {
  public:
    struct Options {
        std::optional<cli::ApiSocket> api_socket;
        bool reboot = true;                                    ///< carry out the guest's wish to reboot
        bool outlive_vm = true;                                ///< stay when the guest has ended its VM
        DirtyLogMode dirty_log = DirtyLogMode::kInitiallySet;  ///< if this host has it
        /// SIGTERM presses the power button, and the guest has this long. Unset: it ends the VM at once.
        std::optional<std::chrono::seconds> shutdown_timeout;
    };
    struct Outcome {
        ExitCode code = ExitCode::kPowerOff;
        std::string words;  ///< how it ended
    };

    explicit Session(Options options);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    [[nodiscard]] api::Vmm& vmm() { return vmm_; }
    [[nodiscard]] api::EventLog& events() { return events_; }

    /// Serves the API from now on, once run() runs.
    Result<> listen();
    /// Until a signal, the VM or a client ends it. Nothing is left of the VM then, and the terminal is as it
    /// was.
    Result<Outcome> run();

  private:
    boost::asio::awaitable<api::http::Response> answer(api::http::Request& request);
    void ended(const MachineEnd& end);
    void moved();
    void wait_for_signal();
    void shut_down();
    void watch_disks();
    void finish(ExitCode code, std::string words);

    const Options options_;
    api::EventLog events_;  ///< outlives `io_`, where what is left of streams still names it
    boost::asio::io_context io_{1};
    boost::asio::signal_set signals_;
    boost::asio::steady_timer deadline_;
    boost::asio::steady_timer disk_timer_;
    api::Vmm vmm_;
    api::Snapshots snapshots_{vmm_};
    api::Migrations migrations_{vmm_, [this] { moved(); }};
    api::Router router_;
    api::RequestMetrics request_metrics_;
    api::ApiThread api_{io_};
    bool shutting_down_ = false;
    bool shut_down_over_api_ = false;
    Outcome outcome_;
    std::optional<Error> failure_;
};

}  // namespace hako
