#include "migration/source.h"

#include <algorithm>
#include <utility>

#include "migration/memory/missing_list.h"
#include "migration/transport/channel.h"
#include "vmm/base/crc32c.h"

namespace hako::migration {
namespace {

constexpr milliseconds kLockInterval{10};
/// Frames of the peer that may still stand before its ABORT.
constexpr int kFramesBeforeReason = 4;

bool is_final(SourceState state) {
    return state >= SourceState::kHandedOver;
}

Phase phase_of(SourceState state) {
    if (state <= SourceState::kJoining) return Phase::kStarting;
    if (state == SourceState::kPrecopy) return Phase::kPrecopy;
    if (state == SourceState::kServing || state == SourceState::kRecovering) return Phase::kPostcopy;
    return is_final(state) ? Phase::kOver : Phase::kCompleting;
}

Status status_of(SourceState state, const std::optional<Failure>& failure) {
    switch (state) {
        case SourceState::kHandedOver:
            return Status::kFinished;
        case SourceState::kKept:
            return failure && failure->event == Event::kCancelled ? Status::kCancelled : Status::kFailed;
        case SourceState::kUnconfirmed:
            return Status::kUnconfirmed;
        case SourceState::kStranded:
            return Status::kStranded;
        case SourceState::kLost:
            return Status::kLost;
        default:
            return Status::kOngoing;
    }
}

bool may_postcopy(const SourceConfig& config) {
    return config.convergence.postcopy || config.convergence.strategy == TimeoutStrategy::kPostcopy;
}

}  // namespace

std::string_view state_name(SourceState state) {
    switch (state) {
        case SourceState::kConnecting:
            return "connecting";
        case SourceState::kNegotiating:
            return "negotiating";
        case SourceState::kJoining:
            return "joining";
        case SourceState::kPrecopy:
            return "precopy";
        case SourceState::kPausing:
            return "pausing";
        case SourceState::kSaving:
            return "saving";
        case SourceState::kLastRound:
            return "last-round";
        case SourceState::kAwaitReady:
            return "await-ready";
        case SourceState::kReleasing:
            return "releasing";
        case SourceState::kAwaitLocked:
            return "await-locked";
        case SourceState::kCommitting:
            return "committing";
        case SourceState::kAwaitRunning:
            return "await-running";
        case SourceState::kServing:
            return "serving";
        case SourceState::kRecovering:
            return "paused-recoverable";
        case SourceState::kHandedOver:
            return "handed-over";
        case SourceState::kKept:
            return "kept";
        case SourceState::kUnconfirmed:
            return "unconfirmed";
        case SourceState::kStranded:
            return "stranded";
        case SourceState::kLost:
            return "lost";
    }
    return "";
}

Result<std::unique_ptr<Source>> Source::create(const SourceConfig& config, Connector& connector,
                                               SourceMachine& machine, Observer observer) {
    if (config.connections < 1 || config.connections > kMaxConnections)
        return fail_input("{} connections: 1 to {} are possible", config.connections, kMaxConnections);
    if (config.local && may_postcopy(config))
        return fail_input("a local migration hands memory over: there is nothing for postcopy to do");
    auto stop = HAKO_TRY(Stop::create());
    auto give_up = HAKO_TRY(Stop::create());
    return std::unique_ptr<Source>(
        new Source(config, connector, machine, std::move(observer), std::move(stop), std::move(give_up)));
}

Source::Source(const SourceConfig& config, Connector& connector, SourceMachine& machine, Observer observer,
               std::unique_ptr<Stop> stop, std::unique_ptr<Stop> give_up)
    : config_(config),
      connector_(connector),
      machine_(machine),
      observer_(std::move(observer)),
      stop_(std::move(stop)),
      give_up_(std::move(give_up)),
      limit_(config.bandwidth),
      convergence_(config.convergence) {
    progress_.transport = config.transport;
    progress_.timestamp_begin = now_stamp();
    progress_.downtime_configured_ms = static_cast<std::uint64_t>(config.convergence.downtime.count());
}

Status Source::run() {
    while (!is_final(at_)) {
        enter(at_);
        Outcome<SourceState> next = step(at_);
        at_ = next ? *next : fail(at_, std::move(next).error());
    }
    return end(at_);
}

Outcome<SourceState> Source::step(SourceState at) {
    if (at < SourceState::kCommitting) HAKO_TRY(check_stop());
    switch (at) {
        case SourceState::kConnecting:
            return connect();
        case SourceState::kNegotiating:
            return negotiate();
        case SourceState::kJoining:
            return join();
        case SourceState::kPrecopy:
            return precopy();
        case SourceState::kPausing:
            return pause();
        case SourceState::kSaving:
            return save();
        case SourceState::kLastRound:
            return last_round();
        case SourceState::kAwaitReady:
            return await_ready();
        case SourceState::kReleasing:
            return release();
        case SourceState::kAwaitLocked:
            return await_locked();
        case SourceState::kCommitting:
            return commit();
        case SourceState::kAwaitRunning:
            return await_running();
        case SourceState::kServing:
            return serve();
        case SourceState::kRecovering:
            return recover();
        default:
            return at;
    }
}

SourceState Source::fail(SourceState at, Failure why) {
    failed_in_ = at;
    failure_ = std::move(why);
    switch (at) {
        // The guest runs here.
        case SourceState::kConnecting:
        case SourceState::kNegotiating:
        case SourceState::kJoining:
        case SourceState::kPrecopy:
            say_goodbye();
            return keep_running();
        // It is paused here, and the locks are here.
        case SourceState::kPausing:
        case SourceState::kSaving:
        case SourceState::kLastRound:
        case SourceState::kAwaitReady: {
            const SourceState next = resume_with_locks();
            say_goodbye();
            return next;
        }
        // The locks may be there. The destination has no GO: it gives them up.
        case SourceState::kReleasing:
        case SourceState::kAwaitLocked:
            say_goodbye();
            return reclaim_locks();
        // Did a byte of GO get out?
        case SourceState::kCommitting:
            if (committed_) return postcopy_ ? interrupted() : SourceState::kUnconfirmed;
            say_goodbye();
            return reclaim_locks();
        // It may run there. It may say that it does not; but what counts is what its storage says.
        case SourceState::kAwaitRunning:
            return failure_->event == Event::kAborted ? reclaim_by_record() : SourceState::kUnconfirmed;
        // The guest is there, and some of its pages are here. Unless it could not start.
        case SourceState::kServing:
            return failure_->event == Event::kAborted ? reclaim_by_record() : interrupted();
        case SourceState::kRecovering:
            return failure_->event == Event::kCancelled ? SourceState::kUnconfirmed : interrupted();
        default:
            return at;
    }
}

// --- the guest runs here
// ------------------------------------------------------------------------------------------

Outcome<SourceState> Source::connect() {
    control_ = HAKO_TRY(connector_.connect(within(config_.timeouts.connect)));
    return SourceState::kNegotiating;
}

Outcome<SourceState> Source::negotiate() {
    description_ = HAKO_TRY(machine_.describe());
    if (config_.local && !description_.disks.empty())
        return fail_as(Event::kLocal, "a local migration hands open images over: no disk can be copied");
    for (const DiskShape& disk : description_.disks)
        disks_.push_back(source_disk(HAKO_TRY_WRAP(machine_.image(disk.id), "disk {}", disk.id), disk.bytes));
    const std::vector<NamedFd> fds = config_.local ? machine_.fds() : std::vector<NamedFd>();
    const MemoryLayout& layout = machine_.memory().layout;
    HAKO_TRY(layout.check());
    publish([&](Progress& progress) {
        progress.memory.bytes_total = layout.pages() * kPageSize;
        if (disks_.empty()) return;
        progress.disks.emplace();
        for (const SourceDisk& disk : disks_)
            progress.disks->bytes_total += disk.bytes;
    });
    HAKO_TRY(send_message(*control_,
                          Hello{.uuid = description_.uuid,
                                .epoch = description_.epoch,
                                .connections = static_cast<std::uint16_t>(config_.connections),
                                .fds = static_cast<std::uint16_t>(fds.size()),
                                .postcopy = may_postcopy(config_),
                                .layout = layout,
                                .disks = description_.disks,
                                .config = description_.config,
                                .cpu = description_.cpu},
                          within(config_.timeouts.connect)));
    for (const NamedFd& fd : fds) {
        const Blob payload = encode(FdName{.name = fd.name});
        const auto header = encode_header(Type::kFd, 0, payload);
        HAKO_TRY(control_->send_fd(header, fd.fd, within(config_.timeouts.connect)));
        HAKO_TRY(control_->send(payload, within(config_.timeouts.connect)));
    }
    accept_ = HAKO_TRY(receive_message<Accept>(*control_, within(config_.timeouts.prepare)));
    if (accept_.version < kOldestVersion || accept_.version > kNewestVersion)
        return fail_as(Event::kGarbage,
                       "the destination chose version {} of the protocol, which was not offered",
                       accept_.version);
    return config_.local ? SourceState::kPausing : SourceState::kJoining;
}

Outcome<SourceState> Source::join() {
    std::vector<std::unique_ptr<Stream>> streams = HAKO_TRY(join_all(accept_.token, stop_.get()));
    const SenderSetup setup{.memory = machine_.memory(),
                            .connections = config_.connections,
                            .limit = limit_,
                            .counters = counters_,
                            .clearer = machine_,
                            .touched = touched_,
                            .cut = &cut_,
                            .disks = disks_};
    pool_ = HAKO_TRY(SenderPool::start(setup, std::move(streams), config_.timeouts.silence, *stop_));
    return SourceState::kPrecopy;
}

Outcome<std::vector<std::unique_ptr<Stream>>> Source::join_all(const Token& token, const Stop* stop) {
    std::vector<std::unique_ptr<Stream>> streams;
    for (unsigned index = 0; index < config_.connections; ++index) {
        const auto wait = [&] { return Wait::within(config_.timeouts.connect, stop); };
        streams.push_back(HAKO_TRY(connector_.connect(wait())));
        HAKO_TRY(send_message(*streams.back(),
                              Join{.token = token, .index = static_cast<std::uint16_t>(index)}, wait()));
        HAKO_TRY(receive_message<Joined>(*streams.back(), wait()));
    }
    return streams;
}

Outcome<SourceState> Source::precopy() {
    HAKO_TRY(machine_.start_dirty_tracking());
    tracking_ = true;
    touched_ = HAKO_TRY(machine_.touched());
    bits_ = make_bits(machine_.memory().layout, true);
    blocks_ = make_block_bits(description_.disks, true);
    for (unsigned throttled = 0;;) {
        const Clock::time_point round_start = Clock::now();
        const MemoryTotals sent = HAKO_TRY(send_round(false));
        HAKO_TRY(acknowledge_round(sent));
        // On top of what did not go, where the round was cut.
        HAKO_TRY(machine_.fetch_dirty(bits_));
        HAKO_TRY(machine_.fetch_dirty_blocks(blocks_));
        const Decision decision = decide(sent, round_start);
        ++round_;
        if (decision.throttle_percent != throttled) machine_.throttle(throttled = decision.throttle_percent);
        postcopy_ = decision.verdict == Verdict::kPostcopy;
        if (postcopy_) HAKO_TRY(announce_missing());
        if (decision.verdict == Verdict::kPause || postcopy_) return SourceState::kPausing;
        if (decision.verdict == Verdict::kGiveUp)
            return fail_as(
                Event::kTimeout,
                "after {} rounds the guest still writes faster than its memory can be sent: a pause of {} "
                "ms would be needed, {} are allowed",
                round_, std::chrono::duration_cast<milliseconds>(decision.predicted_downtime).count(),
                config_.convergence.downtime.count());
    }
}

/// Of what is written since the last round nothing will go before the guest does. The destination takes away
/// what it has of it in a round without pages, and not in the pause.
Outcome<> Source::announce_missing() {
    HAKO_TRY(send_missing(bits_));
    missing_ = std::exchange(bits_, make_bits(machine_.memory().layout, false));
    const MemoryTotals none = HAKO_TRY(send_round(false));
    HAKO_TRY(acknowledge_round(none));
    HAKO_TRY(machine_.fetch_dirty_blocks(blocks_));
    ++round_;
    return {};
}

Outcome<MemoryTotals> Source::send_round(bool last) {
    publish([&](Progress& progress) {
        round_begin_ = counters_.totals();
        round_pages_ = count_bits(bits_);
        round_blocks_ = count_bits(blocks_);
        progress.memory.iteration = round_;
    });
    pool_->begin(round_, last, bits_, blocks_);
    if (last) HAKO_TRY(send_frame(*control_, Type::kState, state_, within(config_.timeouts.ready)));
    const Clock::time_point end = begin_ + config_.convergence.timeout;
    const bool may_cut = !last && config_.convergence.strategy == TimeoutStrategy::kPostcopy;
    for (;;) {
        Outcome<MemoryTotals> sent =
            pool_->finish({.silence = config_.timeouts.ping,
                           .until = may_cut && !cut_ ? end : Clock::time_point::max(),
                           .stop = stop_.get()});
        if (sent || sent.error().event != Event::kTimeout || stop_->reason()) return sent;
        if (may_cut && Clock::now() >= end) cut_ = true;
        if (!last && config_.convergence.strategy == TimeoutStrategy::kCancel && Clock::now() >= end)
            return fail_as(Event::kTimeout, "the migration took longer than {} s",
                           config_.convergence.timeout.count());
        HAKO_TRY(send_message(*control_, Ping{}, within(config_.timeouts.silence)));
    }
}

Outcome<> Source::acknowledge_round(const MemoryTotals& sent) {
    HAKO_TRY(send_message(
        *control_,
        Round{.round = round_, .pages = sent.pages, .zero_pages = sent.zero_pages, .blocks = sent.blocks},
        within(config_.timeouts.silence)));
    const auto done = HAKO_TRY(receive_message<RoundDone>(*control_, within(config_.timeouts.silence)));
    if (done.round != round_ || done.pages != sent.pages + sent.zero_pages)
        return fail_as(Event::kGarbage,
                       "the destination has {} pages of round {}, where {} of round {} were sent", done.pages,
                       done.round, sent.pages + sent.zero_pages, round_);
    return {};
}

Decision Source::decide(const MemoryTotals& sent, Clock::time_point round_start) {
    const Clock::time_point now = Clock::now();
    const std::uint64_t dirty_pages = count_bits(bits_);
    const std::uint64_t dirty_blocks = count_bits(blocks_);
    const Decision decision =
        convergence_.decide({.round = round_,
                             .elapsed = now - begin_,
                             .duration = now - round_start,
                             .bytes = sent.bytes,
                             .dirty_bytes = dirty_pages * kPageSize,
                             .block_bytes = dirty_blocks * kBlockBytes,
                             .state_bytes = description_.state_bytes,
                             .restore_cost = std::chrono::nanoseconds(accept_.restore_cost_ns)});
    publish([&](Progress& progress) {
        progress.memory.bps = decision.bandwidth;
        progress.memory.dirty_rate_pps = decision.dirty_rate / kPageSize;
        progress.vcpu_throttle_percent = decision.throttle_percent;
        progress.downtime_estimated_ms = static_cast<std::uint64_t>(
            std::chrono::duration_cast<milliseconds>(decision.predicted_downtime).count());
        round_begin_ = counters_.totals();
        round_pages_ = dirty_pages;
        round_blocks_ = dirty_blocks;
    });
    return decision;
}

// --- it is paused here
// --------------------------------------------------------------------------------------------

Outcome<SourceState> Source::pause() {
    const Stamp paused = HAKO_TRY(machine_.pause());
    paused_ = true;
    publish([&](Progress& progress) { progress.stamps.paused = paused; });
    return SourceState::kSaving;
}

Outcome<SourceState> Source::save() {
    // Before the last pages are looked for: saving may write guest memory.
    state_ = HAKO_TRY(machine_.save_state());
    return SourceState::kLastRound;
}

Outcome<SourceState> Source::last_round() {
    MemoryTotals sent;
    if (config_.local) {
        HAKO_TRY(send_frame(*control_, Type::kState, state_, within(config_.timeouts.ready)));
    } else {
        HAKO_TRY(machine_.fetch_dirty(bits_));  // on top of what precopy() found last
        HAKO_TRY(machine_.fetch_dirty_blocks(blocks_));
        PageBits more;
        if (postcopy_) {
            more = std::exchange(bits_, make_bits(machine_.memory().layout, false));
            remove_bits(more, missing_);
            add_bits(missing_, more);
        }
        sent = HAKO_TRY(send_round(true));
        if (postcopy_) HAKO_TRY(send_missing(more));
    }
    HAKO_TRY(send_message(*control_,
                          Round{.round = round_,
                                .last = true,
                                .pages = sent.pages,
                                .zero_pages = sent.zero_pages,
                                .blocks = sent.blocks},
                          within(config_.timeouts.ready)));
    return SourceState::kAwaitReady;
}

Outcome<> Source::send_missing(const PageBits& pages) {
    for (const Missing& part : split_missing(pages))
        HAKO_TRY(send_message(*control_, part, within(config_.timeouts.ready)));
    return {};
}

Outcome<SourceState> Source::await_ready() {
    const auto ready = HAKO_TRY(receive_message<Ready>(*control_, within(config_.timeouts.ready)));
    const std::uint64_t pages =
        config_.local ? 0 : machine_.memory().layout.pages() - (postcopy_ ? count_bits(missing_) : 0);
    if (ready.state_crc != crc32c(state_) || ready.pages_received != pages)
        return fail_as(Event::kGarbage, "the destination has {} pages of {}, and a state with checksum {:#x}",
                       ready.pages_received, pages, ready.state_crc);
    return SourceState::kReleasing;
}

Outcome<SourceState> Source::release() {
    HAKO_TRY(machine_.release_locks());
    released_ = now_stamp();
    HAKO_TRY(send_message(*control_, LocksReleased{}, within(config_.timeouts.handover)));
    return SourceState::kAwaitLocked;
}

Outcome<SourceState> Source::await_locked() {
    const auto locked = HAKO_TRY(receive_message<Locked>(*control_, within(config_.timeouts.handover)));
    // As NTP does: half of the way there and back, less the time spent there, is how far each way is.
    const Stamp now = now_stamp();
    const auto there = static_cast<std::int64_t>(locked.received - released_);
    const auto back = static_cast<std::int64_t>(locked.sent - now);
    clock_ahead_ = static_cast<std::uint64_t>(there / 2 + back / 2);
    round_trip_ = std::chrono::nanoseconds(std::max<std::int64_t>(
        static_cast<std::int64_t>((now - released_) - (locked.sent - locked.received)), 0));
    return SourceState::kCommitting;
}

Outcome<SourceState> Source::commit() {
    // From here on no cancel counts; one that came before does.
    if (!stop_->seal()) return std::unexpected(*stop_->reason());
    const Go go{.epoch = description_.epoch,
                .paused = progress().stamps.paused,
                .clock_ahead = clock_ahead_,
                .round_trip_ns = static_cast<std::uint64_t>(round_trip_.count())};
    const std::uint64_t handed = control_->handed();
    const Outcome<> sent = send_message(*control_, go, Wait::within(config_.timeouts.handover, nullptr));
    committed_ = control_->handed() != handed;
    if (!sent) return std::unexpected(sent.error());
    if (!postcopy_) return SourceState::kAwaitRunning;
    streams_ = pool_->take_streams();
    served_round_ = round_ + 1;
    return SourceState::kServing;
}

// --- it runs there
// ------------------------------------------------------------------------------------------------

Outcome<SourceState> Source::await_running() {
    runs_there(
        HAKO_TRY(receive_message<Running>(*control_, Wait::within(config_.timeouts.running, nullptr))));
    return SourceState::kHandedOver;
}

void Source::runs_there(const Running& running) {
    publish([&](Progress& progress) {
        progress.stamps.first_instruction = running.first_instruction - clock_ahead_;
        progress.stamps.round_trip_ns = static_cast<std::uint64_t>(round_trip_.count());
    });
}

/// The destination may ask for pages before it says RUNNING: it needs some to get so far.
Outcome<SourceState> Source::serve() {
    lifeline_ = HAKO_TRY(Stop::create());
    failure_.reset();
    publish([&](Progress& progress) {
        round_begin_ = counters_.totals();
        round_pages_ = count_bits(missing_);
        round_blocks_ = 0;
        progress.memory.iteration = served_round_;
        if (!progress.postcopy) progress.postcopy.emplace();
        progress.event.reset();
        progress.causes.clear();
    });
    const PostcopySenderSetup setup{.memory = machine_.memory(),
                                    .limit = limit_,
                                    .counters = counters_,
                                    .round = served_round_,
                                    .silence = config_.timeouts.silence,
                                    .ping = config_.timeouts.ping,
                                    .done = [this](const Round& sent) {
                                        all_sent_ = true;
                                        const Wait wait{.silence = config_.timeouts.silence,
                                                        .stop = lifeline_.get()};
                                        return send_message(*control_, sent, wait);
                                    }};
    all_sent_ = false;
    sender_ = PostcopySender::start(setup, missing_, std::exchange(streams_, {}), *lifeline_);
    for (;;) {
        // Silence is fine as long as pages go: who does not take them is heard of on their connections.
        const bool all_sent = all_sent_;
        const Outcome<Frame> received =
            receive_frame(*control_, {.silence = config_.timeouts.silence, .stop = lifeline_.get()});
        if (!received && received.error().event == Event::kTimeout && !all_sent && !lifeline_->reason())
            continue;
        const Frame frame = HAKO_TRY(received);
        if (frame.type == Type::kPageRequest) {
            const auto request = HAKO_TRY(open_frame<PageRequest>(frame));
            HAKO_TRY(sender_->ask(request));
        } else if (frame.type == Type::kRunning) {
            runs_there(HAKO_TRY(open_frame<Running>(frame)));
        } else {
            const auto done = HAKO_TRY(open_frame<RoundDone>(frame));
            if (done.round != setup.round || done.pages != count_bits(missing_))
                return fail_as(Event::kGarbage, "the destination has {} pages, where {} were missing",
                               done.pages, count_bits(missing_));
            return SourceState::kHandedOver;
        }
    }
}

/// One attempt. The destination tells what is missing: of what was under way, nobody knows here.
Outcome<SourceState> Source::recover() {
    HAKO_TRY(sleep_for(config_.timeouts.retry, give_up_.get()));
    const auto wait = [this](milliseconds time) { return Wait::within(time, give_up_.get()); };
    control_ = HAKO_TRY(connector_.connect(wait(config_.timeouts.connect)));
    HAKO_TRY(send_message(*control_,
                          Recover{.uuid = description_.uuid,
                                  .epoch = description_.epoch,
                                  .token = accept_.token,
                                  .connections = static_cast<std::uint16_t>(config_.connections)},
                          wait(config_.timeouts.connect)));
    const auto accept = HAKO_TRY(receive_message<Accept>(*control_, wait(config_.timeouts.connect)));
    streams_ = HAKO_TRY(join_all(accept.token, give_up_.get()));
    missing_ = HAKO_TRY(receive_missing());
    if (auto reason = give_up_->reason()) return std::unexpected(std::move(*reason));
    return SourceState::kServing;
}

Outcome<PageBits> Source::receive_missing() {
    PageBits missing = make_bits(machine_.memory().layout, false);
    for (;;) {
        const Frame frame =
            HAKO_TRY(receive_frame(*control_, Wait::within(config_.timeouts.connect, give_up_.get())));
        if (frame.type == Type::kMissing) {
            const auto part = HAKO_TRY(open_frame<Missing>(frame));
            HAKO_TRY(add_missing(missing, machine_.memory().layout, part));
            continue;
        }
        const auto end = HAKO_TRY(open_frame<Round>(frame));
        if (end.pages != count_bits(missing))
            return fail_as(Event::kGarbage, "{} pages are missing, and {} were told", end.pages,
                           count_bits(missing));
        served_round_ = end.round;
        return missing;
    }
}

// --- what failures lead to
// ----------------------------------------------------------------------------------------

/// Pages that are here and nowhere else: they stay, and this side goes on trying.
SourceState Source::interrupted() {
    const bool first = failed_in_ != SourceState::kRecovering;
    sender_.reset();
    streams_.clear();
    if (pool_) pool_->shut_down();
    if (control_) control_->shut_down();
    publish([&](Progress& progress) {
        if (!progress.postcopy) progress.postcopy.emplace();
        if (first) ++progress.postcopy->interruptions;
        progress.event = failure_->event;
        progress.causes = failure_->error.chain();
    });
    return SourceState::kRecovering;
}

SourceState Source::keep_running() {
    end_precopy();
    return SourceState::kKept;
}

SourceState Source::resume_with_locks() {
    if (std::exchange(paused_, false)) {
        if (Result<> resumed = machine_.resume(); !resumed) {
            paused_ = true;
            return strand(std::move(resumed).error());
        }
    }
    return keep_running();
}

SourceState Source::reclaim_locks() {
    if (Result<> got = get_locks_back(); !got) return strand(std::move(got).error());
    return resume_with_locks();
}

SourceState Source::reclaim_by_record() {
    if (Result<> got = get_locks_back(); !got) return strand(std::move(got).error());
    auto record = machine_.read_epoch_record();
    if (!record) return strand(std::move(record).error());
    const Result<Reclaim> verdict = decide_reclaim(*record, description_.uuid, description_.epoch);
    if (!verdict) return strand(verdict.error());
    if (*verdict == Reclaim::kLost) {
        if (Result<> released = machine_.release_locks(); !released)
            return strand(std::move(released).error());
        end_precopy();
        return SourceState::kLost;
    }
    // Whoever still waits with a GO for the old epoch may not start any more.
    const EpochRecord next{
        .epoch = description_.epoch + 1, .vm = description_.uuid, .who = "the source, which went on"};
    if (Result<> written = machine_.write_epoch_record(next); !written)
        return strand(std::move(written).error());
    return resume_with_locks();
}

SourceState Source::strand(Error why) {
    // The guest is paused for now; to whom it belongs is not known, or it cannot go on.
    const std::string first = failure_->error.text();
    failure_->error = std::move(why).wrap(fmt::format("the guest stays paused here, after: {}", first));
    return SourceState::kStranded;
}

Result<> Source::get_locks_back() {
    const Clock::time_point end = Clock::now() + config_.timeouts.locks;
    for (;;) {
        Result<> got = machine_.acquire_locks();
        if (got || Clock::now() >= end) return got;
        [[maybe_unused]] const auto slept = sleep_for(kLockInterval, nullptr);
    }
}

void Source::end_precopy() {
    pool_.reset();
    if (!std::exchange(tracking_, false)) return;
    machine_.throttle(0);
    machine_.stop_dirty_tracking();
    publish([](Progress& progress) { progress.vcpu_throttle_percent = 0; });
}

void Source::say_goodbye() {
    if (!control_) return;
    const Wait wait = Wait::within(config_.timeouts.farewell, nullptr);
    if (failure_->event == Event::kLost) {
        // A peer that gives up says why before it goes.
        for (int frame = 0; frame < kFramesBeforeReason; ++frame) {
            Outcome<Frame> next = receive_frame(*control_, wait);
            if (next) continue;
            if (next.error().event == Event::kAborted) failure_ = std::move(next).error();
            break;
        }
    } else if (failure_->event != Event::kAborted && failure_->event != Event::kRefused) {
        [[maybe_unused]] const auto told =
            send_message(*control_, Abort{.causes = failure_->error.chain()}, wait);
    }
    if (pool_) pool_->shut_down();
    control_->shut_down();
}

// --- from other threads, and for them
// -----------------------------------------------------------------------------

bool Source::cancel() {
    const Failure why{Event::kCancelled, Error(Fault::kState, "the migration was cancelled")};
    return stop_->raise(why) || (recovering_ && give_up_->raise(why));
}

void Source::set_bandwidth(std::uint64_t bytes_per_second) {
    limit_.set(bytes_per_second);
}

Progress Source::progress() const {
    const std::lock_guard lock(progress_mutex_);
    Progress progress = progress_;
    const MemoryTotals all = counters_.totals();
    const MemoryTotals round = all - round_begin_;
    const std::uint64_t done = std::min(round.pages + round.zero_pages, round_pages_);
    progress.timestamp_snapshot = now_stamp();
    progress.memory.bytes_transmitted = all.bytes - all.block_bytes;
    if (progress.disks) {
        const std::uint64_t left = round_blocks_ - std::min(round.blocks, round_blocks_);
        progress.disks->bytes_transmitted = all.block_bytes;
        progress.disks->bytes_remaining = std::min(left * kBlockBytes, progress.disks->bytes_total);
    }
    progress.memory.pages_4k_transmitted = all.pages;
    progress.memory.pages_constant_count = all.zero_pages;
    progress.memory.pages_4k_remaining_iteration = round_pages_ - done;
    progress.memory.bytes_remaining_iteration = (round_pages_ - done) * kPageSize;
    return progress;
}

Status Source::reclaim() {
    if (at_ != SourceState::kUnconfirmed && at_ != SourceState::kStranded) return status_of(at_, failure_);
    at_ = committed_ ? reclaim_by_record() : reclaim_locks();
    return end(at_);
}

Outcome<> Source::check_stop() const {
    if (auto reason = stop_->reason()) return std::unexpected(std::move(*reason));
    return {};
}

void Source::enter(SourceState state) {
    recovering_ = state == SourceState::kRecovering;
    publish([&](Progress& progress) {
        progress.phase = phase_of(state);
        progress.step = state_name(state);
        progress.steps.enter(state_name(state));
    });
    if (observer_) observer_(progress());
}

void Source::publish(const std::function<void(Progress&)>& change) {
    const std::lock_guard lock(progress_mutex_);
    change(progress_);
}

Status Source::end(SourceState state) {
    sender_.reset();
    pool_.reset();
    if (control_) control_->shut_down();
    const Status status = status_of(state, failure_);
    publish([&](Progress& progress) {
        progress.status = status;
        if (failure_) {
            progress.event = failure_->event;
            Error why = failure_->error;
            progress.causes = std::move(why)
                                  .wrap(fmt::format("migration, {}: {}", state_name(failed_in_),
                                                    event_name(failure_->event)))
                                  .chain();
        }
    });
    enter(state);
    return status;
}

}  // namespace hako::migration
