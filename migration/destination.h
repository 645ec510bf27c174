// The destination of a live migration: docs/migration.md, "Destination", as code.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>

#include "migration/destination_machine.h"
#include "migration/memory/counters.h"
#include "migration/memory/missing_pages.h"
#include "migration/memory/postcopy_receiver.h"
#include "migration/memory/receiver_pool.h"
#include "migration/progress.h"
#include "migration/timeouts.h"
#include "migration/transport/channel.h"
#include "migration/transport/stream.h"
#include "vmm/base/log.h"

namespace hako::migration {

/// The rows of the table, in order. The last ones are final.
enum class DestinationState : unsigned char {
    kListening,
    kGreeting,
    kPreparing,
    kJoining,
    kReceiving,
    kLoading,
    kLastRound,
    kReady,
    kLocking,
    kLocked,
    kRecording,
    kStarting,
    kAnnouncing,
    kFaulting,
    kRecoverable,
    kRuns,
    kDiscarded,
    kHeld,
    kGone,
};
[[nodiscard]] std::string_view state_name(DestinationState state);

struct DestinationConfig {
    std::string transport;  ///< for the progress
    Timeouts timeouts;
};

/// One attempt. run() is called once, on a thread of its own; the others on any.
class Destination {
  public:
    using Observer = std::function<void(const Progress&)>;

    /// All three outlive it.
    static Result<std::unique_ptr<Destination>> create(const DestinationConfig& config, Acceptor& acceptor,
                                                       DestinationMachine& machine, Observer observer = {});

    /// Waits for a source and takes its VM over. kFinished: the guest runs here. kFailed, kCancelled: nothing
    /// is left of it. kStranded: it is whole but does not run; the machine holds it and its locks. kGone: it
    /// has run, and pages of it will never come. Whoever touches one waits as long as this lives: the process
    /// should end before.
    Status run();
    /// Asks for an end; false: it is too late, the source has handed over. A postcopy that was interrupted
    /// can be given up: the guest is lost then.
    bool cancel();
    [[nodiscard]] Progress progress() const;

  private:
    Destination(const DestinationConfig& config, Acceptor& acceptor, DestinationMachine& machine,
                Observer observer, std::unique_ptr<Stop> stop, std::unique_ptr<Stop> give_up)
        : config_(config),
          acceptor_(acceptor),
          machine_(machine),
          observer_(std::move(observer)),
          stop_(std::move(stop)),
          give_up_(std::move(give_up)) {
        progress_.transport = config.transport;
        progress_.timestamp_begin = now_stamp();
    }

    // One for each row: its action, and the state that follows.
    Outcome<DestinationState> step(DestinationState at);
    Outcome<DestinationState> listen();
    Outcome<DestinationState> greet();
    Outcome<DestinationState> prepare();
    Outcome<DestinationState> join();
    Outcome<DestinationState> receive();
    Outcome<DestinationState> load();
    Outcome<DestinationState> last_round();
    Outcome<DestinationState> await_release();
    Outcome<DestinationState> lock();
    Outcome<DestinationState> await_go();
    Outcome<DestinationState> record();
    Outcome<DestinationState> start();
    Outcome<DestinationState> announce();
    Outcome<DestinationState> fault();
    Outcome<DestinationState> recover();
    // The columns of failures.
    DestinationState fail(DestinationState at, Failure why);
    DestinationState discard();
    DestinationState withdraw();
    DestinationState interrupted();
    DestinationState complete();

    Outcome<std::vector<ReceivedFd>> receive_fds();
    /// The next frame that is no PING and carries no descriptor.
    Outcome<Frame> next_frame(const Wait& wait);
    Outcome<> take_missing(const Frame& frame);
    Outcome<> set_trap();
    Outcome<> send_missing();
    Outcome<> begin_faulting();
    Outcome<Stamp> run_machine();
    /// Data connections that present `token`.
    Outcome<std::vector<std::unique_ptr<Stream>>> gather(unsigned connections, const Token& token,
                                                         const Stop& stop);
    Outcome<> join_one(std::unique_ptr<Stream> stream, const Token& token,
                       std::vector<std::unique_ptr<Stream>>& streams, const Stop& stop);
    void say_goodbye();

    [[nodiscard]] Wait within(milliseconds time) const { return Wait::within(time, stop_.get()); }
    void enter(DestinationState state);
    void publish(const std::function<void(Progress&)>& change);
    Status end(DestinationState state);

    const DestinationConfig config_;
    Acceptor& acceptor_;
    DestinationMachine& machine_;
    const Observer observer_;
    const std::unique_ptr<Stop> stop_;
    const std::unique_ptr<Stop> give_up_;  ///< once the guest has run here: ends the wait for its source
    MemoryCounters counters_;

    std::unique_ptr<Stream> control_;
    Hello hello_;
    Prepared prepared_;
    Accept accept_;
    PageBits received_;
    std::unique_ptr<ReceiverPool> pool_;
    Blob state_;
    std::chrono::nanoseconds load_time_{0};
    Go go_;
    Stamp first_instruction_ = 0;
    LogLimit log_;
    bool sealed_ = false;

    // Postcopy.
    bool postcopy_ = false;  ///< pages are missing when the guest runs
    PageBits told_missing_;
    std::uint32_t round_ = 0;  ///< the one that comes
    std::unique_ptr<PageTrap> trap_;
    std::unique_ptr<MissingPages> missing_;         ///< changed under progress_mutex_
    std::vector<std::unique_ptr<Stream>> streams_;  ///< of the receiver to be
    std::mutex send_mutex_;                         ///< of the control connection
    std::unique_ptr<Stop> lifeline_;                ///< of the connections
    std::unique_ptr<PostcopyReceiver> receiver_;
    EventFd has_run_;                 ///< signalled once `run_` is there
    std::future<Result<Stamp>> run_;  ///< of the machine, as long as it has not returned
    std::atomic<bool> recoverable_ = false;

    DestinationState at_ = DestinationState::kListening;
    std::optional<Failure> failure_;
    DestinationState failed_in_ = DestinationState::kListening;

    mutable std::mutex progress_mutex_;
    Progress progress_;
};

}  // namespace hako::migration
