// vm.snapshot and vm.restore.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "api/schema/snapshot.h"
#include "api/vmm.h"
#include "migration/instance/instance_source.h"
#include "migration/snapshot/snapshot.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::api {

/// Control thread.
class Snapshots {
  public:
    /// The Vmm outlives it.
    explicit Snapshots(Vmm& vmm) : vmm_(vmm) {}
    Snapshots(const Snapshots&) = delete;
    Snapshots& operator=(const Snapshots&) = delete;

    /// Of a VM that is paused, or, live, that runs. `done` is called when it is over, mostly later.
    void take(const VmSnapshotConfig& wanted, std::function<void(Result<SnapshotReport>)> done);
    /// A new VM from a snapshot, paused unless the client wants otherwise. `fds`: see RestoreConfig::net_fds.
    Result<> restore(const RestoreConfig& wanted, std::vector<Fd> fds);

  private:
    Result<> start(const VmSnapshotConfig& wanted, std::function<void(Result<SnapshotReport>)> done);

    /// Of the job under way.
    struct Under {
        migration::InstanceSource source;
        migration::Snapshot snapshot;
        Result<migration::SnapshotOutcome> outcome;
        Under(Instance& instance, migration::ControlThread control, migration::SnapshotConfig config,
              std::optional<migration::Changes> changes)
            : source(instance, control, {}, {}), snapshot(std::move(config), source, std::move(changes)) {}
    };

    Result<> track(const migration::SavedState& saved);

    Vmm& vmm_;
    /// Holds as long as the machine's log of writes is on: only snapshots leave it on, a migration or a
    /// reboot ends it.
    std::optional<migration::Changes> changes_;
    std::unique_ptr<Under> under_;
};

}  // namespace hako::api
