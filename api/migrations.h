// vm.send-migration, vm.receive-migration, and what is to be known of them.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/arrival.h"
#include "api/schema/migration.h"
#include "api/vmm.h"
#include "migration/destination.h"
#include "migration/instance/instance_source.h"
#include "migration/source.h"
#include "migration/transport/dialer.h"
#include "migration/transport/listener.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::api {

/// Control thread, but for progress() and cancel(). One migration at a time; what is known of the last one
/// stays.
class Migrations {
  public:
    /// `moved`: a VM has left this process for good. The Vmm outlives it.
    Migrations(Vmm& vmm, std::function<void()> moved) : vmm_(vmm), moved_(std::move(moved)) {}
    Migrations(const Migrations&) = delete;
    Migrations& operator=(const Migrations&) = delete;

    /// Begins; progress() and events tell the rest.
    Result<> send(const SendMigrationData& wanted);
    /// Waits for a VM and takes it over. `done` is called when it runs here, or will not.
    void receive(const ReceiveMigrationData& wanted, std::vector<Fd> fds, std::function<void(Result<>)> done);

    /// Of the migration under way or the last one. Any thread.
    [[nodiscard]] Result<MigrationProgress> progress() const;
    /// A Fault::kConflict says that it is too late, or that there is none. Any thread.
    Result<> cancel();
    /// Bytes a second from now on; 0: no limit.
    Result<> set_bandwidth(std::uint64_t bandwidth);
    /// Of a VM that was handed over, without a word that it runs there: whether it may go on here.
    Result<> reclaim();

  private:
    struct Sending {
        Sending(Instance& instance, migration::ControlThread control, migration::Blob config,
                const migration::Uuid& uuid)
            : machine(instance, control, std::move(config), uuid) {}
        migration::InstanceSource machine;
        std::unique_ptr<migration::Dialer> dialer;
        std::unique_ptr<migration::Source> source;
    };
    struct Receiving {
        Receiving(Vmm& vmm, Arrival::Changes changes, std::vector<Fd> fds)
            : machine(vmm, std::move(changes), std::move(fds)) {}
        Arrival machine;
        std::unique_ptr<migration::Listener> listener;
        std::unique_ptr<migration::Destination> destination;
    };

    Result<> start_receiving(const ReceiveMigrationData& wanted, std::vector<Fd> fds,
                             const std::function<void(Result<>)>& done);
    void sent(migration::Status status);
    Result<> received(migration::Status status);
    void observe(const migration::Progress& progress);

    Vmm& vmm_;
    const std::function<void()> moved_;
    mutable std::mutex mutex_;  ///< for the pointers, which change on the control thread only
    std::unique_ptr<Sending> sending_;
    bool ended_ = false;  ///< how the sending ended has been published; for `mutex_`, too
    std::unique_ptr<Receiving> receiving_;
    std::optional<MigrationProgress> last_;
    std::string step_;  ///< last told; the migration's thread
};

}  // namespace hako::api
