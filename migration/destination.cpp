#include "migration/destination.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "vmm/base/crc32c.h"

namespace hako::migration {
namespace {

constexpr milliseconds kForEver = std::chrono::hours(24 * 365);
/// Connections with another token, or none, before somebody is taken to be at play.
constexpr int kMaxStrangers = 256;

bool is_final(DestinationState state) {
    return state >= DestinationState::kRuns;
}

Phase phase_of(DestinationState state) {
    if (state <= DestinationState::kJoining) return Phase::kStarting;
    if (state == DestinationState::kReceiving) return Phase::kPrecopy;
    return is_final(state) ? Phase::kOver : Phase::kCompleting;
}

Status status_of(DestinationState state, const std::optional<Failure>& failure) {
    switch (state) {
        case DestinationState::kRuns:
            return Status::kFinished;
        case DestinationState::kDiscarded:
            return failure && failure->event == Event::kCancelled ? Status::kCancelled : Status::kFailed;
        case DestinationState::kHeld:
            return Status::kStranded;
        default:
            return Status::kOngoing;
    }
}

/// In the same time whatever is in it.
bool same_token(const Token& a, const Token& b) {
    std::byte difference{0};
    for (std::size_t index = 0; index < a.size(); ++index)
        difference |= a[index] ^ b[index];
    return difference == std::byte{0};
}

Result<Token> new_token() {
    Token token{};
    if (::getrandom(token.data(), token.size(), 0) != static_cast<ssize_t>(token.size()))
        return fail_errno(errno, "no random bytes for the connections' token");
    return token;
}

}  // namespace

std::string_view state_name(DestinationState state) {
    switch (state) {
        case DestinationState::kListening:
            return "listening";
        case DestinationState::kGreeting:
            return "greeting";
        case DestinationState::kPreparing:
            return "preparing";
        case DestinationState::kJoining:
            return "joining";
        case DestinationState::kReceiving:
            return "receiving";
        case DestinationState::kLoading:
            return "loading";
        case DestinationState::kLastRound:
            return "last-round";
        case DestinationState::kReady:
            return "ready";
        case DestinationState::kLocking:
            return "locking";
        case DestinationState::kLocked:
            return "locked";
        case DestinationState::kRecording:
            return "recording";
        case DestinationState::kStarting:
            return "starting";
        case DestinationState::kAnnouncing:
            return "announcing";
        case DestinationState::kRuns:
            return "runs";
        case DestinationState::kDiscarded:
            return "discarded";
        case DestinationState::kHeld:
            return "held";
    }
    return "";
}

Result<std::unique_ptr<Destination>> Destination::create(const DestinationConfig& config, Acceptor& acceptor,
                                                         DestinationMachine& machine, Observer observer) {
    auto stop = HAKO_TRY(Stop::create());
    return std::unique_ptr<Destination>(
        new Destination(config, acceptor, machine, std::move(observer), std::move(stop)));
}

Status Destination::run() {
    while (!is_final(at_)) {
        enter(at_);
        Outcome<DestinationState> next = step(at_);
        at_ = next ? *next : fail(at_, std::move(next).error());
    }
    return end(at_);
}

Outcome<DestinationState> Destination::step(DestinationState at) {
    if (!sealed_) {
        if (auto reason = stop_->reason()) return std::unexpected(std::move(*reason));
    }
    switch (at) {
        case DestinationState::kListening:
            return listen();
        case DestinationState::kGreeting:
            return greet();
        case DestinationState::kPreparing:
            return prepare();
        case DestinationState::kJoining:
            return join();
        case DestinationState::kReceiving:
            return receive();
        case DestinationState::kLoading:
            return load();
        case DestinationState::kLastRound:
            return last_round();
        case DestinationState::kReady:
            return await_release();
        case DestinationState::kLocking:
            return lock();
        case DestinationState::kLocked:
            return await_go();
        case DestinationState::kRecording:
            return record();
        case DestinationState::kStarting:
            return start();
        case DestinationState::kAnnouncing:
            return announce();
        default:
            return at;
    }
}

DestinationState Destination::fail(DestinationState at, Failure why) {
    failed_in_ = at;
    failure_ = std::move(why);
    switch (at) {
        // Nothing is here yet. Whoever came was no source: the next one may be.
        case DestinationState::kListening:
        case DestinationState::kGreeting:
            if (failure_->event == Event::kCancelled || failure_->event == Event::kLocal) return discard();
            log_.warn("migration: a connection was refused: {}", failure_->error.text());
            control_.reset();
            failure_.reset();
            return DestinationState::kListening;
        // The guest runs at the source, or is paused there and will be resumed.
        case DestinationState::kPreparing:
        case DestinationState::kJoining:
        case DestinationState::kReceiving:
        case DestinationState::kLastRound:
        case DestinationState::kLoading:
        case DestinationState::kReady:
        case DestinationState::kLocking:
        case DestinationState::kLocked:
            return discard();
        // It is this side's, and has not run: the source may have it back.
        case DestinationState::kRecording:
        case DestinationState::kStarting:
            return withdraw();
        // It runs here, whether or not the source hears of it.
        case DestinationState::kAnnouncing:
            return DestinationState::kRuns;
        default:
            return at;
    }
}

// --- the guest is the source's
// ------------------------------------------------------------------------------------

Outcome<DestinationState> Destination::listen() {
    control_ = HAKO_TRY(acceptor_.accept({.silence = kForEver, .stop = stop_.get()}));
    return DestinationState::kGreeting;
}

Outcome<DestinationState> Destination::greet() {
    hello_ = HAKO_TRY(receive_message<Hello>(*control_, within(config_.timeouts.connect)));
    return DestinationState::kPreparing;
}

Outcome<DestinationState> Destination::prepare() {
    if (hello_.newest < kOldestVersion || hello_.oldest > kNewestVersion || hello_.oldest > hello_.newest)
        return fail_as(Event::kLocal,
                       "the source speaks versions {} to {} of the protocol, this hako {} to {}",
                       hello_.oldest, hello_.newest, kOldestVersion, kNewestVersion);
    HAKO_TRY(hello_.layout.check());
    std::vector<ReceivedFd> fds = HAKO_TRY(receive_fds());
    prepared_ = HAKO_TRY(machine_.prepare(hello_, std::move(fds)));
    if (prepared_.memory.layout != hello_.layout)
        return fail_as(Event::kLocal, "the source's memory lies at other addresses than this host's would");
    received_ = make_bits(hello_.layout, false);
    publish([&](Progress& progress) { progress.memory.bytes_total = hello_.layout.pages() * kPageSize; });
    accept_ = {.version = std::min(hello_.newest, kNewestVersion),
               .token = HAKO_TRY(new_token()),
               .restore_cost_ns = static_cast<std::uint64_t>(prepared_.restore_cost.count())};
    HAKO_TRY(send_message(*control_, accept_, within(config_.timeouts.connect)));
    return DestinationState::kJoining;
}

Outcome<std::vector<ReceivedFd>> Destination::receive_fds() {
    std::vector<ReceivedFd> fds;
    for (unsigned index = 0; index < hello_.fds; ++index) {
        auto name = HAKO_TRY(receive_message<FdName>(*control_, within(config_.timeouts.connect)));
        std::optional<Fd> fd = control_->take_fd();
        if (!fd) return fail_as(Event::kGarbage, "FD {} came without a descriptor", name.name);
        fds.push_back({.name = std::move(name.name), .fd = std::move(*fd)});
    }
    return fds;
}

Outcome<DestinationState> Destination::join() {
    std::vector<std::unique_ptr<Stream>> streams(hello_.fds == 0 ? hello_.connections : 0);
    const Clock::time_point end =
        Clock::now() + config_.timeouts.connect * static_cast<int>(streams.size() + 1);
    const auto missing = [&] {
        return std::ranges::any_of(streams, [](const auto& stream) { return !stream; });
    };
    for (int strangers = 0; missing();) {
        Wait wait = within(config_.timeouts.connect);
        wait.until = end;
        Outcome<std::unique_ptr<Stream>> stream = acceptor_.accept(wait);
        const bool accepted = stream.has_value();
        const Outcome<> joined =
            accepted ? join_one(*std::move(stream), streams) : std::unexpected(stream.error());
        if (joined) continue;
        if (stop_->reason() || Clock::now() >= end || joined.error().event == Event::kLocal ||
            (!accepted && joined.error().event == Event::kTimeout) || ++strangers > kMaxStrangers)
            return std::unexpected(joined.error());
    }
    acceptor_.close();  // the address is free; nobody else has anything to say
    const ReceiverSetup setup{.memory = prepared_.memory,
                              .connections = hello_.connections,
                              .received = received_,
                              .counters = counters_};
    pool_ = HAKO_TRY(ReceiverPool::start(setup, std::move(streams), *stop_));
    return DestinationState::kReceiving;
}

Outcome<> Destination::join_one(std::unique_ptr<Stream> stream,
                                std::vector<std::unique_ptr<Stream>>& streams) {
    const auto join = HAKO_TRY(receive_message<Join>(*stream, within(config_.timeouts.farewell)));
    if (!same_token(join.token, accept_.token) || join.index >= streams.size() || streams[join.index])
        return fail_as(Event::kGarbage, "a connection that is not of this migration");
    HAKO_TRY(send_message(*stream, Joined{}, within(config_.timeouts.farewell)));
    streams[join.index] = std::move(stream);
    return {};
}

Outcome<Frame> Destination::next_frame(const Wait& wait) {
    for (;;) {
        Frame frame = HAKO_TRY(receive_frame(*control_, wait));
        if (control_->take_fd())
            return fail_as(Event::kGarbage, "{} came with a descriptor", type_name(frame.type));
        if (frame.type == Type::kPing) {
            HAKO_TRY(open_frame<Ping>(frame));
            continue;
        }
        return frame;
    }
}

Outcome<DestinationState> Destination::receive() {
    for (std::uint32_t number = 0;; ++number) {
        publish([&](Progress& progress) { progress.memory.iteration = number; });
        const Wait wait{.silence = config_.timeouts.silence, .stop = stop_.get()};
        Frame frame = HAKO_TRY(next_frame(wait));
        if (frame.type == Type::kState) {
            state_ = std::move(frame.payload);
            return DestinationState::kLoading;
        }
        const auto round = HAKO_TRY(open_frame<Round>(frame));
        if (round.round != number || round.last)
            return fail_as(Event::kGarbage, "ROUND {} came where {} is under way", round.round, number);
        HAKO_TRY(pool_->finish(round, within(config_.timeouts.silence)));
        HAKO_TRY(send_message(*control_, RoundDone{.round = number, .pages = round.pages + round.zero_pages},
                              within(config_.timeouts.silence)));
    }
}

/// While the last pages come: what is built does not look at memory before it runs.
Outcome<DestinationState> Destination::load() {
    const Clock::time_point start = Clock::now();
    HAKO_TRY(machine_.load_state(state_));
    load_time_ = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start);
    return DestinationState::kLastRound;
}

Outcome<DestinationState> Destination::last_round() {
    const Frame frame = HAKO_TRY(next_frame(within(config_.timeouts.ready)));
    const auto round = HAKO_TRY(open_frame<Round>(frame));
    if (!round.last) return fail_as(Event::kGarbage, "STATE came before the last round");
    std::uint64_t pages = 0;
    if (hello_.fds == 0) {
        HAKO_TRY(pool_->finish(round, within(config_.timeouts.ready)));
        pages = count_bits(received_);
        if (pages != hello_.layout.pages())
            return fail_as(Event::kGarbage, "only {} pages of {} ever came", pages, hello_.layout.pages());
    }
    HAKO_TRY(send_message(*control_,
                          Ready{.state_crc = crc32c(state_),
                                .pages_received = pages,
                                .load_ns = static_cast<std::uint64_t>(load_time_.count())},
                          within(config_.timeouts.handover)));
    return DestinationState::kReady;
}

Outcome<DestinationState> Destination::await_release() {
    const Frame frame = HAKO_TRY(next_frame(within(config_.timeouts.handover)));
    HAKO_TRY(open_frame<LocksReleased>(frame));
    return DestinationState::kLocking;
}

Outcome<DestinationState> Destination::lock() {
    const Stamp received = now_stamp();
    HAKO_TRY(machine_.acquire_locks());
    HAKO_TRY(send_message(*control_, Locked{.received = received, .sent = now_stamp()},
                          within(config_.timeouts.handover)));
    return DestinationState::kLocked;
}

Outcome<DestinationState> Destination::await_go() {
    const Frame frame = HAKO_TRY(next_frame(within(config_.timeouts.handover)));
    go_ = HAKO_TRY(open_frame<Go>(frame));
    if (go_.epoch != hello_.epoch)
        return fail_as(Event::kGarbage, "GO for epoch {}, where {} was to begin", go_.epoch, hello_.epoch);
    // From here on no cancel counts; one that came before does.
    if (!stop_->seal()) return std::unexpected(*stop_->reason());
    sealed_ = true;
    return DestinationState::kRecording;
}

// --- it is this side's
// --------------------------------------------------------------------------------------------

Outcome<DestinationState> Destination::record() {
    HAKO_TRY(machine_.write_epoch_record(hello_.epoch));
    return DestinationState::kStarting;
}

Outcome<DestinationState> Destination::start() {
    const Stamp first = HAKO_TRY(machine_.run());
    publish([&](Progress& progress) {
        progress.stamps = {.paused = go_.paused,
                           .first_instruction = first - go_.clock_ahead,
                           .round_trip_ns = go_.round_trip_ns};
    });
    first_instruction_ = first;
    return DestinationState::kAnnouncing;
}

Outcome<DestinationState> Destination::announce() {
    HAKO_TRY(send_message(*control_, Running{.first_instruction = first_instruction_},
                          Wait::within(config_.timeouts.handover, nullptr)));
    return DestinationState::kRuns;
}

// --- what failures lead to
// ----------------------------------------------------------------------------------------

DestinationState Destination::discard() {
    pool_.reset();  // which writes into the memory that goes now
    // Before the source is told: it waits for the locks.
    machine_.discard();
    say_goodbye();
    return DestinationState::kDiscarded;
}

DestinationState Destination::withdraw() {
    if (Result<> withdrawn = machine_.withdraw_epoch_record(hello_.epoch); !withdrawn) {
        // The source will read that this side has run. So the only whole copy is here.
        failure_->error = std::move(withdrawn).error().wrap(
            fmt::format("the guest is held here, paused, after: {}", failure_->error.text()));
        return DestinationState::kHeld;
    }
    return discard();
}

void Destination::say_goodbye() {
    if (!control_) return;
    const Wait wait = Wait::within(config_.timeouts.farewell, nullptr);
    const std::vector<std::string>& causes = failure_->error.chain();
    if (failed_in_ == DestinationState::kPreparing) {
        [[maybe_unused]] const auto told = send_message(*control_, Refuse{.causes = causes}, wait);
    } else if (failure_->event != Event::kAborted) {
        [[maybe_unused]] const auto told = send_message(*control_, Abort{.causes = causes}, wait);
    }
    control_->shut_down();
}

// --- from other threads, and for them
// -----------------------------------------------------------------------------

bool Destination::cancel() {
    return stop_->raise({Event::kCancelled, Error(Fault::kState, "the migration was cancelled")});
}

Progress Destination::progress() const {
    const std::lock_guard lock(progress_mutex_);
    Progress progress = progress_;
    const MemoryTotals all = counters_.totals();
    progress.timestamp_snapshot = now_stamp();
    progress.memory.bytes_transmitted = all.bytes;
    progress.memory.pages_4k_transmitted = all.pages;
    progress.memory.pages_constant_count = all.zero_pages;
    return progress;
}

void Destination::enter(DestinationState state) {
    publish([&](Progress& progress) {
        progress.phase = phase_of(state);
        progress.step = state_name(state);
        progress.steps.enter(state_name(state));
    });
    if (observer_) observer_(progress());
}

void Destination::publish(const std::function<void(Progress&)>& change) {
    const std::lock_guard lock(progress_mutex_);
    change(progress_);
}

Status Destination::end(DestinationState state) {
    acceptor_.close();
    pool_.reset();
    if (control_) control_->shut_down();
    const Status status = status_of(state, failure_);
    publish([&](Progress& progress) {
        progress.status = status;
        if (!failure_) return;
        progress.event = failure_->event;
        Error why = failure_->error;
        progress.causes =
            std::move(why)
                .wrap(fmt::format("migration, {}: {}", state_name(failed_in_), event_name(failure_->event)))
                .chain();
    });
    enter(state);
    return status;
}

}  // namespace hako::migration
