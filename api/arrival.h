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
    /// `fds`: see ReceiveMigrationData::net_fds. The Vmm outlives it.
    /// `vsock_socket`: where the vsock's socket is to be, if not where it was.
    Arrival(Vmm& vmm, std::vector<RestoredNetConfig> nets, std::optional<std::string> vsock_socket,
            std::vector<Fd> fds)
        : vmm_(vmm),
          control_(vmm.control()),
          nets_(std::move(nets)),
          vsock_socket_(std::move(vsock_socket)),
          fds_(std::move(fds)) {}

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
    const std::vector<RestoredNetConfig> nets_;
    const std::optional<std::string> vsock_socket_;
    std::vector<Fd> fds_;

    migration::Uuid uuid_{};
    migration::MemoryView memory_;
    Instance* instance_ = nullptr;  ///< once it is prepared
    std::optional<Chassis> chassis_;
    std::optional<std::string> record_path_;
    bool runs_ = false;  ///< the guest did at the source
};

}  // namespace hako::api
