// A VM that arrives here by live migration.
#pragma once

#include <optional>
#include <vector>

#include "api/schema/migration.h"
#include "api/vmm.h"
#include "migration/destination_machine.h"
#include "migration/instance/control_thread.h"
#include "vmm/machine/chassis.h"

namespace hako::api {

/// Called by the migration's thread; what is the VM's happens on the control thread.
class Arrival final : public migration::DestinationMachine {
  public:
    /// What of the VM is to be other here than it was: see ReceiveMigrationData.
    struct Changes {
        std::vector<RestoredNetConfig> nets;
        std::vector<RestoredFsConfig> fs;
        std::optional<std::string> vsock_socket;
    };

    /// `fds`: those that `changes.nets` speak of. The Vmm outlives it.
    Arrival(Vmm& vmm, Changes changes, std::vector<Fd> fds)
        : vmm_(vmm), control_(vmm.control()), changes_(std::move(changes)), fds_(std::move(fds)) {}

    Result<migration::Prepared> prepare(const migration::Hello& hello,
                                        std::vector<migration::ReceivedFd> fds) override;
    Result<std::unique_ptr<migration::PageTrap>> trap_pages() override;
    Result<> load_state(std::span<const std::byte> state) override;
    Result<> acquire_locks() override;
    Result<> write_epoch_record(std::uint64_t epoch) override;
    Result<> withdraw_epoch_record(std::uint64_t epoch) override;
    Result<migration::Stamp> run() override;
    void halt() override;
    void go_on() override;
    void discard() override;

  private:
    Vmm& vmm_;
    const migration::ControlThread control_;
    const Changes changes_;
    std::vector<Fd> fds_;

    migration::Uuid uuid_{};
    migration::MemoryView memory_;
    Instance* instance_ = nullptr;  ///< once it is prepared
    std::optional<Chassis> chassis_;
    std::optional<std::string> record_path_;
    bool runs_ = false;  ///< the guest did at the source
};

}  // namespace hako::api
