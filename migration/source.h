// The source of a live migration: docs/migration.md, "Source", as code.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

#include "migration/convergence.h"
#include "migration/memory/bandwidth.h"
#include "migration/memory/counters.h"
#include "migration/memory/postcopy_sender.h"
#include "migration/memory/sender_pool.h"
#include "migration/progress.h"
#include "migration/source_machine.h"
#include "migration/timeouts.h"
#include "migration/transport/stream.h"

namespace hako::migration {

/// The rows of the table, in order. The last ones are final.
enum class SourceState : unsigned char {
    kConnecting,
    kNegotiating,
    kJoining,
    kPrecopy,
    kPausing,
    kSaving,
    kLastRound,
    kAwaitReady,
    kReleasing,
    kAwaitLocked,
    kCommitting,
    kAwaitRunning,
    kServing,
    kRecovering,
    kHandedOver,
    kKept,
    kUnconfirmed,
    kStranded,
    kLost,
};
[[nodiscard]] std::string_view state_name(SourceState state);

struct SourceConfig {
    ConvergenceConfig convergence;
    unsigned connections = 1;     ///< data connections, 1 to kMaxConnections
    bool local = false;           ///< hand descriptors over instead of memory; one unix connection
    std::uint64_t bandwidth = 0;  ///< bytes a second; 0: no limit
    std::string transport;        ///< for the progress
    Timeouts timeouts;
};

/// One attempt. run() is called once, on a thread of its own; the others on any.
class Source {
  public:
    /// Called by run()'s thread at each step and at the end of each round.
    using Observer = std::function<void(const Progress&)>;

    /// All three outlive it.
    static Result<std::unique_ptr<Source>> create(const SourceConfig& config, Connector& connector,
                                                  SourceMachine& machine, Observer observer = {});

    /// Migrates. Whatever happens, the progress then says where the guest is.
    Status run();
    /// Asks for an end; false: it is too late, the commit point is passed.
    bool cancel();
    void set_bandwidth(std::uint64_t bytes_per_second);
    [[nodiscard]] Progress progress() const;
    /// After kUnconfirmed or kStranded: the rule by which the guest may go on here.
    Status reclaim();

  private:
    Source(const SourceConfig& config, Connector& connector, SourceMachine& machine, Observer observer,
           std::unique_ptr<Stop> stop, std::unique_ptr<Stop> give_up);

    // One for each row: its action, and the state that follows.
    Outcome<SourceState> step(SourceState at);
    Outcome<SourceState> connect();
    Outcome<SourceState> negotiate();
    Outcome<SourceState> join();
    Outcome<SourceState> precopy();
    Outcome<SourceState> pause();
    Outcome<SourceState> save();
    Outcome<SourceState> last_round();
    Outcome<SourceState> await_ready();
    Outcome<SourceState> release();
    Outcome<SourceState> await_locked();
    Outcome<SourceState> commit();
    Outcome<SourceState> await_running();
    Outcome<SourceState> serve();
    Outcome<SourceState> recover();
    // The columns of failures.
    SourceState fail(SourceState at, Failure why);
    SourceState interrupted();
    SourceState keep_running();
    SourceState resume_with_locks();
    SourceState reclaim_locks();
    SourceState reclaim_by_record();
    SourceState strand(Error why);

    Outcome<MemoryTotals> send_round(bool last);
    Outcome<> announce_missing();
    Outcome<> send_missing(const PageBits& pages);
    Outcome<PageBits> receive_missing();
    Outcome<std::vector<std::unique_ptr<Stream>>> join_all(const Token& token, const Stop* stop);
    void runs_there(const Running& running);
    Outcome<> acknowledge_round(const MemoryTotals& sent);
    Decision decide(const MemoryTotals& sent, Clock::time_point round_start);
    Result<> get_locks_back();
    void end_precopy();
    void say_goodbye();

    [[nodiscard]] Wait within(milliseconds time) const { return Wait::within(time, stop_.get()); }
    [[nodiscard]] Outcome<> check_stop() const;
    void enter(SourceState state);
    void publish(const std::function<void(Progress&)>& change);
    Status end(SourceState state);

    const SourceConfig config_;
    Connector& connector_;
    SourceMachine& machine_;
    const Observer observer_;
    const std::unique_ptr<Stop> stop_;
    const std::unique_ptr<Stop> give_up_;  ///< once the guest is there: ends the attempts to go on
    BandwidthLimit limit_;
    MemoryCounters counters_;
    Convergence convergence_;

    const Clock::time_point begin_ = Clock::now();
    Description description_;
    Accept accept_;
    std::unique_ptr<Stream> control_;
    std::unique_ptr<SenderPool> pool_;
    PageBits bits_;                  ///< of the round under way
    PageBits touched_;               ///< before the first one
    std::vector<SourceDisk> disks_;  ///< that move along
    BlockBits blocks_;               ///< of the round under way
    std::uint32_t round_ = 0;
    bool tracking_ = false;
    bool paused_ = false;
    Blob state_;
    Stamp released_ = 0;  ///< LOCKS_RELEASED was sent
    std::uint64_t clock_ahead_ = 0;
    std::chrono::nanoseconds round_trip_{0};
    bool committed_ = false;  ///< a byte of GO may be under way

    // Postcopy.
    std::atomic<bool> cut_ = false;                 ///< the round under way ends early
    bool postcopy_ = false;                         ///< decided
    PageBits missing_;                              ///< at the destination
    std::uint32_t served_round_ = 0;                ///< it goes now
    std::vector<std::unique_ptr<Stream>> streams_;  ///< of the sender to be
    std::unique_ptr<Stop> lifeline_;                ///< of the connections
    std::unique_ptr<PostcopySender> sender_;
    std::atomic<bool> recovering_ = false;
    std::atomic<bool> all_sent_ = false;

    SourceState at_ = SourceState::kConnecting;
    std::optional<Failure> failure_;
    SourceState failed_in_ = SourceState::kConnecting;

    mutable std::mutex progress_mutex_;
    Progress progress_;
    MemoryTotals round_begin_;       ///< counters when the round began
    std::uint64_t round_pages_ = 0;  ///< to be sent in the round
    std::uint64_t round_blocks_ = 0;
};

}  // namespace hako::migration
