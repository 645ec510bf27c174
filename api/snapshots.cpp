#include "api/snapshots.h"

#include <utility>

#include "api/departure.h"
#include "api/identity.h"
#include "api/json/codec.h"
#include "api/schema/file_url.h"
#include "migration/instance/saved_vm.h"
#include "migration/snapshot/chain.h"
#include "migration/snapshot/prefetch.h"
#include "vmm/machine/platform.h"
#include "vmm/machine/state.h"
#include "vmm/memory/host_memory.h"

namespace hako::api {
namespace {

Result<GuestMemory> memory_of(migration::Chain chain, const hako::MemoryConfig& config,
                              const RestoreConfig& wanted) {
    const std::uint64_t saved = chain.top().state.facts.memory;
    if (saved != config.mapped())
        return fail_input("{} of memory were saved, the VM of config.json has {}", format_size(saved),
                          format_size(config.mapped()));
    const bool on_demand = wanted.memory_restore_mode == MemoryRestoreMode::kOnDemand;
    const std::uint64_t filled = config.prefault ? config.total() : on_demand ? 0 : chain.data_bytes();
    const HostMemory host = HAKO_TRY(HostMemory::read());
    HAKO_TRY(check_fits(config, filled, host));
    if (on_demand) {
        const std::string folder = chain.top().folder.path();
        const std::optional<migration::SnapshotId> id = chain.top().state.id;
        GuestMemory mapped = HAKO_TRY(std::move(chain).map(config));
        if (wanted.prefetch && id) mapped.attend(std::make_unique<migration::Prefetch>(mapped, folder, *id));
        return mapped;
    }
    GuestMemory memory = HAKO_TRY(GuestMemory::create(config));
    HAKO_TRY(chain.read(memory));
    return memory;
}

}  // namespace

void Snapshots::take(const VmSnapshotConfig& wanted, std::function<void(Result<SnapshotReport>)> done) {
    if (Result<> started = start(wanted, done); !started) done(std::unexpected(std::move(started).error()));
}

Result<> Snapshots::start(const VmSnapshotConfig& wanted, std::function<void(Result<SnapshotReport>)> done) {
    migration::SnapshotConfig config{.live = wanted.live};
    config.folder = HAKO_TRY(path_of_url("destination_url", wanted.destination_url));
    if (wanted.base_url) config.base = HAKO_TRY(path_of_url("base_url", *wanted.base_url));
    if (wanted.track)
        config.tracking = *wanted.track ? migration::Tracking::kBegin : migration::Tracking::kEnd;
    config.hold_ms = wanted.hold_ms;
    for (const SnapshotDiskConfig& disk : wanted.disks)
        config.disks.push_back({.id = disk.id, .path = disk.path, .copy = disk.copy});
    Instance* const instance = HAKO_TRY(vmm_.instance());
    Machine* const machine = HAKO_TRY(instance->machine());
    if (!wanted.live && instance->state() != VmState::kPaused)
        return wrong_state(instance->state(), "paused (or the snapshot \"live\")");
    if (wanted.live || wanted.base_url || wanted.track.value_or(false))
        HAKO_TRY(migration::check_writes_are_seen(instance->config()));
    const bool logged = wanted.base_url || wanted.track.value_or(false);
    HAKO_TRY(machine->devices().check_can_move(
        logged || instance->state() == VmState::kRunning ? virtio::Move::kLive : virtio::Move::kPaused));
    if (!machine->dirty_tracker().active()) changes_.reset();
    config.config = json::encode(HAKO_TRY(vmm_.config())) + "\n";
    under_ = std::make_unique<Under>(*instance, migration::ControlThread(vmm_.control()), std::move(config),
                                     std::exchange(changes_, std::nullopt));
    vmm_.tell("snapshotting");
    return vmm_.start_job(
        "a snapshot is taken", [this] { under_->outcome = under_->snapshot.run(); },
        [this] { under_->snapshot.cancel(); },
        [this, done = std::move(done)] {
            const std::unique_ptr<Under> over = std::exchange(under_, nullptr);
            const Result<migration::SnapshotOutcome> outcome = std::move(over->outcome);
            changes_ = over->snapshot.take_changes();
            vmm_.tell(outcome ? "snapshotted" : "snapshot-failed");
            if (!outcome) return done(std::unexpected(outcome.error()));
            done(SnapshotReport{.pause_us = outcome->pause_ns / 1000,
                                .memory_bytes = outcome->bytes,
                                .rounds = outcome->rounds});
        });
}

Result<> Snapshots::restore(const RestoreConfig& wanted, std::vector<Fd> fds) {
    HAKO_TRY(vmm_.require_no_vm());
    // All that can be wrong with the files is found before anything is built.
    const std::string path = HAKO_TRY(path_of_url("source_url", wanted.source_url));
    migration::Chain chain = HAKO_TRY(migration::Chain::open(path));
    const migration::SnapshotFolder folder = chain.top().folder;
    const migration::SavedState saved = chain.top().state;
    migration::SavedVm vm = HAKO_TRY(migration::decode_saved_vm(saved.vm));
    MachineState state = HAKO_TRY(decode(vm.machine));
    // There may be any number of VMs of this snapshot.
    HAKO_TRY(renew_generation(state.platform));
    const std::string text = HAKO_TRY(folder.read_config());
    VmConfig config = HAKO_TRY_WRAP(json::decode<VmConfig>(text), "{}/config.json", folder.path());
    const Vmm::Identity identity = HAKO_TRY(give_identity(config, wanted));
    HAKO_TRY(give_nets(config, wanted.net_fds.value_or(std::vector<RestoredNetConfig>{})));
    HAKO_TRY(give_vsock(config, wanted.vsock_socket));
    HAKO_TRY(give_fs(config, wanted.fs_sockets.value_or(std::vector<RestoredFsConfig>{})));
    const MachineConfig machine = HAKO_TRY(to_machine(config));
    if (wanted.track) HAKO_TRY(migration::check_writes_are_seen(machine));
    hako::MemoryConfig memory = machine.memory;
    memory.prefault = wanted.prefault;
    Machine::Restored restored{.state = state,
                               .memory = HAKO_TRY(memory_of(std::move(chain), memory, wanted))};
    HAKO_TRY(vmm_.restore(std::move(config), std::move(fds), std::move(vm), std::move(restored), identity));
    if (wanted.track) {
        if (Result<> tracked = track(saved); !tracked) {
            HAKO_TRY(vmm_.remove());
            return tracked;
        }
    }
    if (wanted.resume) return vmm_.resume();
    return {};
}

/// Of a VM that was just restored: it has written nothing yet.
Result<> Snapshots::track(const migration::SavedState& saved) {
    if (!saved.id) return fail_input("\"track\": the snapshot is of a hako that had no differential ones");
    Machine* const machine = HAKO_TRY(vmm_.machine());
    HAKO_TRY(machine->dirty_tracker().start());
    changes_ = migration::Changes{
        .base = *saved.id,
        .pages = migration::make_bits(migration::view_of(machine->memory()).layout, false)};
    return {};
}

}  // namespace hako::api
