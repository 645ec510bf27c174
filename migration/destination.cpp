#include "migration/destination.h"

#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "migration/memory/missing_list.h"
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
    if (state == DestinationState::kFaulting || state == DestinationState::kRecoverable)
        return Phase::kPostcopy;
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
        case DestinationState::kGone:
            return Status::kGone;
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
        case DestinationState::kFaulting:
            return "faulting";
        case DestinationState::kRecoverable:
            return "paused-recoverable";
        case DestinationState::kRuns:
            return "runs";
        case DestinationState::kDiscarded:
            return "discarded";
        case DestinationState::kHeld:
            return "held";
        case DestinationState::kGone:
            return "gone";
    }
    return "";
}

Result<std::unique_ptr<Destination>> Destination::create(const DestinationConfig& config, Acceptor& acceptor,
                                                         DestinationMachine& machine, Observer observer) {
    auto stop = HAKO_TRY(Stop::create());
    auto give_up = HAKO_TRY(Stop::create());
    return std::unique_ptr<Destination>(
        new Destination(config, acceptor, machine, std::move(observer), std::move(stop), std::move(give_up)));
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
        case DestinationState::kFaulting:
            return fault();
        case DestinationState::kRecoverable:
            return recover();
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
            return withdraw();
        case DestinationState::kStarting:
            return run_.valid() ? interrupted() : withdraw();
        // It runs here, whether or not the source hears of it.
        case DestinationState::kAnnouncing:
            if (!postcopy_) return DestinationState::kRuns;
            [[fallthrough]];
        // It runs here, and some of its pages are at the source. If none are, it needs nobody.
        case DestinationState::kFaulting:
            return missing_->left() == 0 ? complete() : interrupted();
        case DestinationState::kRecoverable:
            if (failure_->event == Event::kCancelled) return DestinationState::kGone;
            return interrupted();
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
    HAKO_TRY(open_disks());
    if (hello_.postcopy) trap_ = HAKO_TRY_WRAP(machine_.trap_pages(), "postcopy");
    publish([&](Progress& progress) {
        progress.memory.bytes_total = hello_.layout.pages() * kPageSize;
        if (disks_.empty()) return;
        progress.disks.emplace();
        for (const DiskShape& disk : hello_.disks)
            progress.disks->bytes_total += disk.bytes;
    });
    accept_ = {.version = std::min(hello_.newest, kNewestVersion),
               .token = HAKO_TRY(new_token()),
               .restore_cost_ns = static_cast<std::uint64_t>(prepared_.restore_cost.count())};
    HAKO_TRY(send_message(*control_, accept_, within(config_.timeouts.connect)));
    return DestinationState::kJoining;
}

Result<> Destination::open_disks() {
    if (!hello_.disks.empty() && hello_.fds != 0)
        return fail_input("a local migration hands open images over: no disk comes along");
    if (prepared_.disks.size() != hello_.disks.size())
        return fail_host("{} disks come along, there are images for {}", hello_.disks.size(),
                         prepared_.disks.size());
    for (std::size_t disk = 0; disk < hello_.disks.size(); ++disk) {
        if (prepared_.disks[disk].bytes != hello_.disks[disk].bytes)
            return fail_host("the image for disk {} is not as large as it", hello_.disks[disk].id);
        disks_.push_back(std::make_unique<ImageWriter>(std::move(prepared_.disks[disk])));
    }
    blocks_ = make_block_bits(hello_.disks, false);
    return {};
}

Outcome<> Destination::sync_disks() {
    for (const auto& disk : disks_)
        HAKO_TRY(disk->sync());
    return {};
}

Outcome<> Destination::check_disks() const {
    if (blocks_ == make_block_bits(hello_.disks, true)) return {};
    return fail_as(Event::kGarbage, "only {} blocks of the disks ever came", count_bits(blocks_));
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
    std::vector<std::unique_ptr<Stream>> streams =
        HAKO_TRY(gather(hello_.fds == 0 ? hello_.connections : 0, accept_.token, *stop_));
    // The address is free; nobody else has anything to say. But for a source that comes again.
    if (!hello_.postcopy) acceptor_.close();
    const ReceiverSetup setup{.memory = prepared_.memory,
                              .connections = hello_.connections,
                              .received = received_,
                              .counters = counters_,
                              .disks = disks_,
                              .blocks = disks_.empty() ? nullptr : &blocks_};
    pool_ = HAKO_TRY(ReceiverPool::start(setup, std::move(streams), *stop_));
    return DestinationState::kReceiving;
}

Outcome<std::vector<std::unique_ptr<Stream>>> Destination::gather(unsigned connections, const Token& token,
                                                                  const Stop& stop) {
    std::vector<std::unique_ptr<Stream>> streams(connections);
    const Clock::time_point end =
        Clock::now() + config_.timeouts.connect * static_cast<int>(streams.size() + 1);
    const auto missing = [&] {
        return std::ranges::any_of(streams, [](const auto& stream) { return !stream; });
    };
    for (int strangers = 0; missing();) {
        Wait wait = Wait::within(config_.timeouts.connect, &stop);
        wait.until = end;
        Outcome<std::unique_ptr<Stream>> stream = acceptor_.accept(wait);
        const bool accepted = stream.has_value();
        const Outcome<> joined =
            accepted ? join_one(*std::move(stream), token, streams, stop) : std::unexpected(stream.error());
        if (joined) continue;
        if (stop.reason() || Clock::now() >= end || joined.error().event == Event::kLocal ||
            (!accepted && joined.error().event == Event::kTimeout) || ++strangers > kMaxStrangers)
            return std::unexpected(joined.error());
    }
    return streams;
}

Outcome<> Destination::join_one(std::unique_ptr<Stream> stream, const Token& token,
                                std::vector<std::unique_ptr<Stream>>& streams, const Stop& stop) {
    const auto wait = [&] { return Wait::within(config_.timeouts.farewell, &stop); };
    const auto join = HAKO_TRY(receive_message<Join>(*stream, wait()));
    if (!same_token(join.token, token) || join.index >= streams.size() || streams[join.index])
        return fail_as(Event::kGarbage, "a connection that is not of this migration");
    HAKO_TRY(send_message(*stream, Joined{}, wait()));
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
        for (; frame.type == Type::kMissing; frame = HAKO_TRY(next_frame(wait)))
            HAKO_TRY(take_missing(frame));
        if (frame.type == Type::kState) {
            state_ = std::move(frame.payload);
            return DestinationState::kLoading;
        }
        const auto round = HAKO_TRY(open_frame<Round>(frame));
        if (round.round != number || round.last)
            return fail_as(Event::kGarbage, "ROUND {} came where {} is under way", round.round, number);
        HAKO_TRY(pool_->finish(round, within(config_.timeouts.silence)));
        // Else all of it would be waited for in the pause.
        HAKO_TRY(sync_disks());
        if (postcopy_) HAKO_TRY(trap_->remove(told_missing_));
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
    Frame frame = HAKO_TRY(next_frame(within(config_.timeouts.ready)));
    while (frame.type == Type::kMissing) {
        HAKO_TRY(take_missing(frame));
        frame = HAKO_TRY(next_frame(within(config_.timeouts.ready)));
    }
    const auto round = HAKO_TRY(open_frame<Round>(frame));
    if (!round.last) return fail_as(Event::kGarbage, "STATE came before the last round");
    std::uint64_t pages = 0;
    if (hello_.fds == 0) {
        HAKO_TRY(pool_->finish(round, within(config_.timeouts.ready)));
        HAKO_TRY(check_disks());
        HAKO_TRY(sync_disks());
        pages = count_bits(received_);
        if (postcopy_) {
            add_bits(received_, told_missing_);
            pages = hello_.layout.pages() - count_bits(told_missing_);
        }
        if (count_bits(received_) != hello_.layout.pages())
            return fail_as(Event::kGarbage, "only {} pages of {} ever came", pages, hello_.layout.pages());
        round_ = round.round;
        if (postcopy_) HAKO_TRY(set_trap());
    }
    HAKO_TRY(send_message(*control_,
                          Ready{.state_crc = crc32c(state_),
                                .pages_received = pages,
                                .load_ns = static_cast<std::uint64_t>(load_time_.count())},
                          within(config_.timeouts.handover)));
    return DestinationState::kReady;
}

Outcome<> Destination::take_missing(const Frame& frame) {
    if (!hello_.postcopy) return fail_as(Event::kGarbage, "MISSING came, and no postcopy was agreed upon");
    if (!std::exchange(postcopy_, true)) told_missing_ = make_bits(hello_.layout, false);
    const auto part = HAKO_TRY(open_frame<Missing>(frame));
    return add_missing(told_missing_, hello_.layout, part);
}

/// After the state is loaded, which makes KVM look at a page or two: whatever it found there goes.
Outcome<> Destination::set_trap() {
    streams_ = pool_->take_streams();
    pool_.reset();
    HAKO_TRY(trap_->arm(told_missing_));
    auto missing = std::make_unique<MissingPages>(*trap_, std::exchange(told_missing_, {}));
    const std::lock_guard lock(progress_mutex_);
    missing_ = std::move(missing);
    progress_.postcopy.emplace();
    return {};
}

Outcome<DestinationState> Destination::await_release() {
    // Its threads are there by the time the guest runs.
    if (postcopy_) HAKO_TRY(begin_faulting());
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
    const Stamp first = HAKO_TRY(run_machine());
    publish([&](Progress& progress) {
        progress.stamps = {.paused = go_.paused,
                           .first_instruction = first - go_.clock_ahead,
                           .round_trip_ns = go_.round_trip_ns};
    });
    first_instruction_ = first;
    return DestinationState::kAnnouncing;
}

Outcome<DestinationState> Destination::announce() {
    const std::lock_guard lock(send_mutex_);
    HAKO_TRY(send_message(*control_, Running{.first_instruction = first_instruction_},
                          Wait::within(config_.timeouts.handover, nullptr)));
    return postcopy_ ? DestinationState::kFaulting : DestinationState::kRuns;
}

// --- postcopy: it is this side's, and pages of it are at the source
// --------------------------------------------------------------------------------------------

/// It may need a missing page to get so far as to run, and that page may be long in coming.
Outcome<Stamp> Destination::run_machine() {
    if (!postcopy_) return HAKO_TRY(machine_.run());
    if (!run_.valid()) {
        has_run_ = HAKO_TRY(EventFd::create());
        run_ = std::async(std::launch::async, [this] {
            Result<Stamp> first = machine_.run();
            has_run_.signal();
            return first;
        });
    }
    HAKO_TRY(wait_ready(has_run_.fd(), POLLIN, {.silence = kForEver, .stop = lifeline_.get()}));
    return HAKO_TRY(run_.get());
}

Outcome<> Destination::begin_faulting() {
    lifeline_ = HAKO_TRY(Stop::create());
    const PostcopyReceiverSetup setup{.memory = prepared_.memory,
                                      .trap = *trap_,
                                      .missing = *missing_,
                                      .counters = counters_,
                                      .round = ++round_,
                                      .silence = config_.timeouts.silence,
                                      .ask = [this](const PageRequest& request) {
                                          const std::lock_guard lock(send_mutex_);
                                          const Wait wait{.silence = config_.timeouts.silence,
                                                          .stop = lifeline_.get()};
                                          return send_message(*control_, request, wait);
                                      }};
    publish([&](Progress& progress) { progress.memory.iteration = round_; });
    receiver_ = HAKO_TRY(PostcopyReceiver::start(setup, std::exchange(streams_, {}), *lifeline_));
    return {};
}

Outcome<DestinationState> Destination::fault() {
    const Outcome<Frame> frame = next_frame({.silence = config_.timeouts.silence, .stop = lifeline_.get()});
    // Silence is fine here as long as pages are missing: on their connections PING comes.
    if (!frame && frame.error().event == Event::kTimeout && missing_->left() > 0 && !lifeline_->reason())
        return DestinationState::kFaulting;
    const Frame end = HAKO_TRY(frame);
    const auto round = HAKO_TRY(open_frame<Round>(end));
    HAKO_TRY(receiver_->finish(round, Wait::within(config_.timeouts.silence, lifeline_.get())));
    if (missing_->left() != 0)
        return fail_as(Event::kGarbage, "the source has sent all, and {} pages are missing",
                       missing_->left());
    const DestinationState next = complete();
    [[maybe_unused]] const auto told =
        send_message(*control_, RoundDone{.round = round.round, .pages = round.pages + round.zero_pages},
                     Wait::within(config_.timeouts.handover, nullptr));
    return next;
}

/// All pages are here. What is told the source afterwards is for its sake.
DestinationState Destination::complete() {
    failure_.reset();
    receiver_.reset();
    if (const Result<> disarmed = trap_->disarm(); !disarmed) log_.warn("{}", disarmed.error().text());
    trap_.reset();
    return DestinationState::kRuns;
}

/// One connection: who comes and is not the source ends nothing.
Outcome<DestinationState> Destination::recover() {
    control_ = HAKO_TRY(acceptor_.accept({.silence = kForEver, .stop = give_up_.get()}));
    const auto wait = [this] { return Wait::within(config_.timeouts.connect, give_up_.get()); };
    const auto recover = HAKO_TRY(receive_message<Recover>(*control_, wait()));
    if (recover.uuid != hello_.uuid || recover.epoch != hello_.epoch ||
        !same_token(recover.token, accept_.token))
        return fail_as(Event::kGarbage, "a source of another VM or migration");
    const Accept accept{.version = accept_.version, .token = HAKO_TRY(new_token())};
    HAKO_TRY(send_message(*control_, accept, wait()));
    streams_ = HAKO_TRY(gather(recover.connections, accept.token, *give_up_));
    HAKO_TRY(send_missing());
    if (auto reason = give_up_->reason()) return std::unexpected(std::move(*reason));
    HAKO_TRY(begin_faulting());
    machine_.go_on();
    failure_.reset();
    publish([](Progress& progress) {
        progress.event.reset();
        progress.causes.clear();
    });
    return run_.valid() ? DestinationState::kStarting : DestinationState::kFaulting;
}

Outcome<> Destination::send_missing() {
    const Wait wait = Wait::within(config_.timeouts.silence, give_up_.get());
    const PageBits bits = missing_->bits();
    for (const Missing& part : split_missing(bits))
        HAKO_TRY(send_message(*control_, part, wait));
    return send_message(*control_, Round{.round = round_ + 1, .pages = count_bits(bits)}, wait);
}

/// The guest stands still until a source comes that has the rest.
DestinationState Destination::interrupted() {
    const bool first = failed_in_ != DestinationState::kRecoverable;
    receiver_.reset();
    streams_.clear();
    if (control_) control_->shut_down();
    if (first) {
        machine_.halt();
        publish([&](Progress& progress) {
            ++progress.postcopy->interruptions;
            progress.event = failure_->event;
            progress.causes = failure_->error.chain();
        });
    } else {
        log_.warn("migration: no way to go on: {}", failure_->error.text());
        // A host without descriptors, say, is no reason to turn in a circle.
        if (failure_->event == Event::kLocal) [[maybe_unused]]
            const auto slept = sleep_for(config_.timeouts.retry, give_up_.get());
    }
    return DestinationState::kRecoverable;
}

// --- what failures lead to
// ----------------------------------------------------------------------------------------

DestinationState Destination::discard() {
    // Which write into the memory that goes now, or work on it.
    pool_.reset();
    receiver_.reset();
    disks_.clear();
    {
        const std::lock_guard lock(progress_mutex_);
        missing_.reset();
    }
    trap_.reset();
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
    const Failure why{Event::kCancelled, Error(Fault::kState, "the migration was cancelled")};
    return stop_->raise(why) || (recoverable_ && give_up_->raise(why));
}

Progress Destination::progress() const {
    const std::lock_guard lock(progress_mutex_);
    Progress progress = progress_;
    const MemoryTotals all = counters_.totals();
    progress.timestamp_snapshot = now_stamp();
    progress.memory.bytes_transmitted = all.bytes - all.block_bytes;
    if (progress.disks) progress.disks->bytes_transmitted = all.block_bytes;
    progress.memory.pages_4k_transmitted = all.pages;
    progress.memory.pages_constant_count = all.zero_pages;
    if (missing_ && progress.postcopy) {
        const Latencies waited = missing_->latencies();
        progress.postcopy->pages_missing = missing_->left();
        progress.postcopy->faults = waited.count();
        progress.postcopy->fault_p50_ns = waited.quantile_ns(50);
        progress.postcopy->fault_p99_ns = waited.quantile_ns(99);
        progress.postcopy->fault_max_ns = waited.max_ns();
        progress.memory.pages_4k_remaining_iteration = progress.postcopy->pages_missing;
        progress.memory.bytes_remaining_iteration = progress.postcopy->pages_missing * kPageSize;
    }
    return progress;
}

void Destination::enter(DestinationState state) {
    recoverable_ = state == DestinationState::kRecoverable;
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
    receiver_.reset();
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
