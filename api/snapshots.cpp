#include "api/snapshots.h"

#include <utility>

#include "api/departure.h"
#include "api/json/codec.h"
#include "api/schema/file_url.h"
#include "migration/instance/saved_vm.h"
#include "migration/snapshot/folder.h"
#include "migration/snapshot/memory_reader.h"
#include "vmm/machine/state.h"

namespace hako::api {
namespace {

Result<GuestMemory> memory_of(const migration::SnapshotFolder& folder, const migration::SnapshotFacts& facts,
                              hako::MemoryConfig config, MemoryRestoreMode mode) {
    if (facts.memory != config.size)
        return fail_input("{} of memory were saved, the VM of config.json has {}", format_size(facts.memory),
                          format_size(config.size));
    const std::string path = folder.memory_path();
    Fd file = HAKO_TRY(migration::open_memory_file(path, facts.memory));
    if (mode == MemoryRestoreMode::kOnDemand) return GuestMemory::map(config, std::move(file));
    const migration::PageChecksums checksums = HAKO_TRY(folder.read_checksums(facts));
    GuestMemory memory = HAKO_TRY(GuestMemory::create(config));
    HAKO_TRY(migration::read_memory(file, path, checksums, memory));
    return memory;
}

}  // namespace

void Snapshots::take(const VmSnapshotConfig& wanted, std::function<void(Result<SnapshotReport>)> done) {
    if (Result<> started = start(wanted, done); !started) done(std::unexpected(std::move(started).error()));
}

Result<> Snapshots::start(const VmSnapshotConfig& wanted, std::function<void(Result<SnapshotReport>)> done) {
    migration::SnapshotConfig config{.live = wanted.live};
    config.folder = HAKO_TRY(path_of_url("destination_url", wanted.destination_url));
    Instance* const instance = HAKO_TRY(vmm_.instance());
    HAKO_TRY(instance->machine());
    if (!wanted.live && instance->state() != VmState::kPaused)
        return wrong_state(instance->state(), "paused (or the snapshot \"live\")");
    if (wanted.live) HAKO_TRY(migration::check_writes_are_seen(instance->config()));
    config.config = json::encode(HAKO_TRY(vmm_.config())) + "\n";
    under_ = std::make_unique<Under>(*instance, migration::ControlThread(vmm_.control()), std::move(config));
    vmm_.tell("snapshotting");
    return vmm_.start_job(
        "a snapshot is taken", [this] { under_->outcome = under_->snapshot.run(); },
        [this] { under_->snapshot.cancel(); },
        [this, done = std::move(done)] {
            const Result<migration::SnapshotOutcome> outcome =
                std::move(std::exchange(under_, nullptr)->outcome);
            vmm_.tell(outcome ? "snapshotted" : "snapshot-failed");
            if (!outcome) return done(std::unexpected(outcome.error()));
            done(SnapshotReport{.pause_us = outcome->pause_ns / 1000,
                                .memory_bytes = outcome->bytes,
                                .rounds = outcome->rounds});
        });
}

Result<> Snapshots::restore(const RestoreConfig& wanted, std::vector<Fd> fds) {
    HAKO_TRY(vmm_.require_no_vm());
    const migration::SnapshotFolder folder(HAKO_TRY(path_of_url("source_url", wanted.source_url)));
    // All that can be wrong with the files is found before anything is built.
    const migration::SavedState saved = HAKO_TRY(folder.read_state());
    migration::SavedVm vm = HAKO_TRY(migration::decode_saved_vm(saved.vm));
    const MachineState state = HAKO_TRY(decode(vm.machine));
    const std::string text = HAKO_TRY(folder.read_config());
    VmConfig config = HAKO_TRY_WRAP(json::decode<VmConfig>(text), "{}/config.json", folder.path());
    HAKO_TRY(give_nets(config, wanted.net_fds.value_or(std::vector<RestoredNetConfig>{})));
    HAKO_TRY(give_vsock(config, wanted.vsock_socket));
    const MachineConfig machine = HAKO_TRY(to_machine(config));
    hako::MemoryConfig memory = machine.memory;
    memory.prefault = wanted.prefault;
    Machine::Restored restored{
        .state = state,
        .memory = HAKO_TRY(memory_of(folder, saved.facts, memory, wanted.memory_restore_mode))};
    HAKO_TRY(vmm_.restore(std::move(config), std::move(fds), std::move(vm.helpers), std::move(restored)));
    if (wanted.resume) return vmm_.resume();
    return {};
}

}  // namespace hako::api
