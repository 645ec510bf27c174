// The destination of a live migration: docs/migration.md, "Destination", as code.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "migration/destination_machine.h"
#include "migration/memory/counters.h"
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
    kRuns,
    kDiscarded,
    kHeld,
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
    /// is left of it. kStranded: it is whole but does not run; the machine holds it and its locks.
    Status run();
    /// Asks for an end; false: it is too late, the source has handed over.
    bool cancel();
    [[nodiscard]] Progress progress() const;

  private:
    Destination(const DestinationConfig& config, Acceptor& acceptor, DestinationMachine& machine,
                Observer observer, std::unique_ptr<Stop> stop)
        : config_(config),
          acceptor_(acceptor),
          machine_(machine),
          observer_(std::move(observer)),
          stop_(std::move(stop)) {
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
    // The columns of failures.
    DestinationState fail(DestinationState at, Failure why);
    DestinationState discard();
    DestinationState withdraw();

    Outcome<std::vector<ReceivedFd>> receive_fds();
    /// The next frame that is no PING and carries no descriptor.
    Outcome<Frame> next_frame(const Wait& wait);
    Outcome<> join_one(std::unique_ptr<Stream> stream, std::vector<std::unique_ptr<Stream>>& streams);
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
    DestinationState at_ = DestinationState::kListening;
    std::optional<Failure> failure_;
    DestinationState failed_in_ = DestinationState::kListening;

    mutable std::mutex progress_mutex_;
    Progress progress_;
};

}  // namespace hako::migration
