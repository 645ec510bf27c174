// The VM's GSI routing table: IOAPIC and PIC pins, and one entry for each MSI route.
#pragma once

#include <map>
#include <mutex>

#include "vmm/bus/interrupts.h"
#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vm.h"

namespace hako {

/// InterruptController on KVM. Safe from any thread; each change hands KVM the whole table.
class GsiRouter final : public InterruptController {
  public:
    /// The VM's irqchip must exist and the VM must outlive the router.
    explicit GsiRouter(kvm::Vm& vm);

    Result<std::uint32_t> allocate_gsi() override;
    void free_gsi(std::uint32_t gsi) override;
    Result<> set_route(std::uint32_t gsi, const MsiMessage& message) override;
    Result<> connect(std::uint32_t gsi, int eventfd) override;
    Result<> disconnect(std::uint32_t gsi, int eventfd) override;

    /// From here on routes are only noted, until apply_routes() hands KVM all of them at once: each change of
    /// the table makes KVM wait for all CPUs, and a restore sets many. No vCPU and no device runs meanwhile.
    void hold_routes();
    Result<> apply_routes();

  private:
    Result<> apply();

    kvm::Vm& vm_;
    std::mutex mutex_;
    std::uint32_t limit_;
    bool held_ = false;
    std::map<std::uint32_t, MsiMessage> routes_;
};

}  // namespace hako
