#include "api/migrations.h"

#include <boost/asio/post.hpp>
#include <cstdlib>
#include <thread>
#include <utility>

#include "api/departure.h"
#include "migration/transport/tls_process.h"
#include "vmm/base/log.h"
#include "vmm/memory/userfault.h"

namespace hako::api {
namespace {

/// Null: no TLS is wanted.
Result<std::unique_ptr<migration::TlsContext>> tls_client(const std::optional<std::string>& directory,
                                                          const migration::Address& address) {
    if (!directory) return nullptr;
    const auto* const tcp = std::get_if<migration::TcpAddress>(&address);
    if (tcp == nullptr) return fail_input("tls_dir: TLS is for tcp: only");
    return HAKO_TRY_WRAP(
        migration::TlsProcess::client(migration::TlsProcess::default_program(), *directory, tcp->host),
        "tls_dir");
}

Result<std::unique_ptr<migration::TlsContext>> tls_server(const std::optional<std::string>& directory,
                                                          const migration::Address& address) {
    if (!directory) return nullptr;
    if (!std::holds_alternative<migration::TcpAddress>(address))
        return fail_input("tls_dir: TLS is for tcp: only");
    return HAKO_TRY_WRAP(migration::TlsProcess::server(migration::TlsProcess::default_program(), *directory),
                         "tls_dir");
}

migration::TimeoutStrategy to_strategy(MigrationTimeout wanted) {
    switch (wanted) {
        case MigrationTimeout::kCancel:
            return migration::TimeoutStrategy::kCancel;
        case MigrationTimeout::kIgnore:
            return migration::TimeoutStrategy::kIgnore;
        case MigrationTimeout::kPostcopy:
            return migration::TimeoutStrategy::kPostcopy;
    }
    return migration::TimeoutStrategy::kCancel;
}

virtio::Move move_of(const SendMigrationData& wanted, VmState state) {
    // As it may become one.
    if (wanted.memory_mode == MemoryMode::kPostcopy || wanted.timeout_strategy == MigrationTimeout::kPostcopy)
        return virtio::Move::kPostcopy;
    return wanted.local || state != VmState::kRunning ? virtio::Move::kPaused : virtio::Move::kLive;
}

migration::SourceConfig source_config(const SendMigrationData& wanted) {
    migration::SourceConfig config;
    config.convergence = {.downtime = std::chrono::milliseconds(wanted.downtime_ms),
                          .timeout = std::chrono::seconds(wanted.timeout_s),
                          .strategy = to_strategy(wanted.timeout_strategy),
                          .auto_converge = wanted.auto_converge,
                          .postcopy = wanted.memory_mode == MemoryMode::kPostcopy};
    config.connections = wanted.connections;
    config.local = wanted.local;
    config.bandwidth = wanted.bandwidth;
    config.transport =
        wanted.local ? "local"
                     : fmt::format("{} connections{}", wanted.connections, wanted.tls_dir ? ", TLS" : "");
    return config;
}

std::vector<MigrationStep> to_api(const migration::StepTimes& times) {
    std::vector<MigrationStep> steps;
    for (const migration::StepTime& step : times.over())
        steps.push_back({.step = std::string(step.step),
                         .us = static_cast<std::uint64_t>(
                             std::chrono::duration_cast<std::chrono::microseconds>(step.time).count())});
    return steps;
}

std::optional<MigrationPostcopy> to_api(const std::optional<migration::PostcopyProgress>& postcopy) {
    constexpr std::uint64_t kUs = 1'000;
    if (!postcopy) return std::nullopt;
    return MigrationPostcopy{.pages_missing = postcopy->pages_missing,
                             .fault_count = postcopy->faults,
                             .fault_p50_us = postcopy->fault_p50_ns / kUs,
                             .fault_p99_us = postcopy->fault_p99_ns / kUs,
                             .fault_max_us = postcopy->fault_max_ns / kUs,
                             .interruptions = postcopy->interruptions};
}

MigrationProgress to_api(const migration::Progress& progress, std::string_view role) {
    constexpr std::uint64_t kMs = 1'000'000;
    const migration::MemoryProgress& memory = progress.memory;
    return {.role = std::string(role),
            .status = std::string(migration::status_name(progress.status)),
            .phase = std::string(migration::phase_name(progress.phase)),
            .step = progress.step,
            .transportation_mode = progress.transport,
            .timestamp_begin_ms = progress.timestamp_begin / kMs,
            .timestamp_snapshot_ms = progress.timestamp_snapshot / kMs,
            .downtime_configured_ms = progress.downtime_configured_ms,
            .downtime_estimated_ms = progress.downtime_estimated_ms,
            .downtime_us = progress.stamps.downtime_ns() / 1000,
            .vcpu_throttle_percent = progress.vcpu_throttle_percent,
            .memory_transmission_info = {.memory_iteration = memory.iteration,
                                         .memory_transmission_bps = memory.bps,
                                         .memory_bytes_total = memory.bytes_total,
                                         .memory_bytes_transmitted = memory.bytes_transmitted,
                                         .memory_bytes_remaining_iteration = memory.bytes_remaining_iteration,
                                         .memory_pages_4k_transmitted = memory.pages_4k_transmitted,
                                         .memory_pages_4k_remaining_iteration =
                                             memory.pages_4k_remaining_iteration,
                                         .memory_pages_constant_count = memory.pages_constant_count,
                                         .memory_dirty_rate_pps = memory.dirty_rate_pps},
            .postcopy = to_api(progress.postcopy),
            .steps = to_api(progress.steps),
            .error = progress.causes};
}

/// Soon: who asked is answered. Threads that wait for ever are not waited for.
void end_process() {
    log_error("the guest is lost: its source, which has the rest of its memory, was given up");
    std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        std::_Exit(EXIT_FAILURE);
    }).detach();
}

std::string causes_text(const std::vector<std::string>& causes) {
    std::string text;
    for (const std::string& cause : causes)
        text += (text.empty() ? "" : ": ") + cause;
    return text;
}

}  // namespace

Result<> Migrations::send(const SendMigrationData& wanted) {
    const migration::Address address =
        HAKO_TRY_WRAP(migration::parse_address(wanted.destination_url), "destination_url");
    Instance* const instance = HAKO_TRY(vmm_.instance());
    Machine* const machine = HAKO_TRY(instance->machine());
    if (!wanted.local && instance->state() == VmState::kRunning)
        HAKO_TRY(migration::check_writes_are_seen(instance->config()));
    HAKO_TRY(machine->devices().check_can_move(move_of(wanted, instance->state())));
    const Departing departing{.config = HAKO_TRY(vmm_.config()),
                              .running = instance->state() == VmState::kRunning};
    auto sending = std::make_unique<Sending>(*instance, migration::ControlThread(vmm_.control()),
                                             HAKO_TRY(write_departing(departing)), vmm_.uuid());
    auto tls = HAKO_TRY(tls_client(wanted.tls_dir, address));
    sending->dialer = HAKO_TRY(migration::Dialer::create(address, std::move(tls)));
    sending->source = HAKO_TRY(
        migration::Source::create(source_config(wanted), *sending->dialer, sending->machine,
                                  [this](const migration::Progress& progress) { observe(progress); }));
    {
        const std::lock_guard lock(mutex_);
        receiving_.reset();
        sending_ = std::move(sending);
        ended_ = false;
    }
    vmm_.tell("migration-started");
    return vmm_.start_job(
        "the VM is migrated", [this] { sending_->source->run(); }, [this] { sending_->source->cancel(); },
        [this] { sent(sending_->source->progress().status); });
}

void Migrations::sent(migration::Status status) {
    const MigrationProgress end = to_api(sending_->source->progress(), "source");
    // Who hears that it is over finds the VM as it is now.
    vmm_.publish();
    if (status == migration::Status::kUnconfirmed || status == migration::Status::kStranded) {
        // The source is needed for reclaim().
        {
            const std::lock_guard lock(mutex_);
            ended_ = true;
        }
        vmm_.seal("the VM was handed over and nobody knows whether it runs there: reclaim or delete it");
        return vmm_.tell("migration-unconfirmed", {{"reason", causes_text(end.error)}});
    }
    {
        const std::lock_guard lock(mutex_);
        last_ = end;
        sending_.reset();
    }
    if (status == migration::Status::kFinished || status == migration::Status::kLost) {
        vmm_.seal("the VM has moved away");
        vmm_.tell("migration-finished", {{"downtime_us", std::to_string(end.downtime_us)}});
        if (const auto removed = vmm_.remove(); !removed) log_error("{}", removed.error().text());
        return moved_();
    }
    vmm_.tell("migration-failed", {{"reason", causes_text(end.error)}});
}

Result<> Migrations::reclaim() {
    if (!sending_ || !vmm_.sealed() || vmm_.job().active())
        return fail_conflict("no VM was handed over without a word that it runs there");
    vmm_.unseal();
    {
        const std::lock_guard lock(mutex_);
        ended_ = false;
    }
    const Result<> started = vmm_.start_job(
        "the VM is reclaimed", [this] { sending_->source->reclaim(); }, [] {},
        [this] { sent(sending_->source->progress().status); });
    if (!started) {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        vmm_.seal("the VM was handed over: reclaim or delete it");
    }
    return started;
}

void Migrations::receive(const ReceiveMigrationData& wanted, std::vector<Fd> fds,
                         std::function<void(Result<>)> done) {
    if (Result<> started = start_receiving(wanted, std::move(fds), done); !started) done(std::move(started));
}

Result<> Migrations::start_receiving(const ReceiveMigrationData& wanted, std::vector<Fd> fds,
                                     const std::function<void(Result<>)>& done) {
    if (wanted.memory_mode == MemoryMode::kPostcopy) HAKO_TRY_WRAP(Userfault::open(), "memory_mode");
    const migration::Address address =
        HAKO_TRY_WRAP(migration::parse_address(wanted.receiver_url), "receiver_url");
    HAKO_TRY(vmm_.require_no_vm());
    auto receiving = std::make_unique<Receiving>(
        vmm_,
        Arrival::Changes{.nets = wanted.net_fds.value_or(std::vector<RestoredNetConfig>{}),
                         .fs = wanted.fs_sockets.value_or(std::vector<RestoredFsConfig>{}),
                         .vsock_socket = wanted.vsock_socket},
        std::move(fds));
    auto tls = HAKO_TRY(tls_server(wanted.tls_dir, address));
    receiving->listener = HAKO_TRY(migration::Listener::open(address, std::move(tls)));
    receiving->destination = HAKO_TRY(migration::Destination::create(
        {.transport = migration::address_text(address), .timeouts = {}}, *receiving->listener,
        receiving->machine, [this](const migration::Progress& progress) { observe(progress); }));
    {
        const std::lock_guard lock(mutex_);
        sending_.reset();
        receiving_ = std::move(receiving);
    }
    vmm_.tell("migration-receive-ready");
    vmm_.job().start(
        "a VM is received", [this] { receiving_->destination->run(); },
        [this] { receiving_->destination->cancel(); },
        [this, done] {
            const Result<> outcome = received(receiving_->destination->progress().status);
            vmm_.settle_arrival();
            done(outcome);
        });
    return {};
}

Result<> Migrations::received(migration::Status status) {
    const MigrationProgress end = to_api(receiving_->destination->progress(), "destination");
    {
        const std::lock_guard lock(mutex_);
        last_ = end;
        // A lost guest's threads wait for its pages as long as that lives: with zeros instead, one might
        // write them to a disk.
        if (status == migration::Status::kGone) (void)receiving_.release();
        receiving_.reset();
    }
    if (status == migration::Status::kGone) end_process();
    if (status == migration::Status::kFinished) {
        vmm_.tell("migration-receive-finished", {{"downtime_us", std::to_string(end.downtime_us)}});
        return {};
    }
    if (status == migration::Status::kStranded)
        vmm_.seal("the VM came, and does not run, and may run at its source: delete it");
    vmm_.tell("migration-receive-failed", {{"reason", causes_text(end.error)}});
    Error error(Fault::kHost, end.error.empty() ? "the migration failed" : end.error.back());
    for (std::size_t outer = end.error.size(); outer-- > 1;)
        error = std::move(error).wrap(end.error[outer - 1]);
    return std::unexpected(std::move(error));
}

void Migrations::observe(const migration::Progress& progress) {
    if (std::exchange(step_, progress.step) == progress.step && progress.phase != migration::Phase::kPrecopy)
        return;
    boost::asio::post(vmm_.control(), [this, step = progress.step, round = progress.memory.iteration,
                                       reason = causes_text(progress.causes)] {
        Event::Properties properties{{"step", step}, {"iteration", std::to_string(round)}};
        // Why it stands still; how it ends is an event of its own.
        if (step == "paused-recoverable") properties.emplace("reason", reason);
        vmm_.tell("migration-step", properties);
    });
}

Result<MigrationProgress> Migrations::progress() const {
    const std::lock_guard lock(mutex_);
    if (sending_) {
        MigrationProgress progress = to_api(sending_->source->progress(), "source");
        if (!ended_) progress.status = migration::status_name(migration::Status::kOngoing);
        return progress;
    }
    if (receiving_) return to_api(receiving_->destination->progress(), "destination");
    if (last_) return *last_;
    return fail_missing("there is no migration, and there was none");
}

Result<> Migrations::cancel() {
    const std::lock_guard lock(mutex_);
    if (sending_) {
        if (sending_->source->cancel()) return {};
        return fail_conflict("it is too late: the VM is handed over");
    }
    if (receiving_) {
        if (receiving_->destination->cancel()) return {};
        return fail_conflict("it is too late: the VM runs here");
    }
    return fail_conflict("there is no migration");
}

Result<> Migrations::set_bandwidth(std::uint64_t bandwidth) {
    if (!sending_) return fail_conflict("no VM is being sent");
    sending_->source->set_bandwidth(bandwidth);
    return {};
}

}  // namespace hako::api
