// All vCPUs of a machine: created with the same policy, parked and released together.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "vmm/boot/boot_state.h"
#include "vmm/bus/bus.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/config.h"
#include "vmm/machine/vcpu_thread.h"

namespace hako {

/// What a debugger wants of a vCPU.
struct CpuRegisters {
    kvm_regs general;
    kvm_sregs special;
};

class Cpus {
  public:
    /// Creates `config.count` vCPUs, parked; vCPU 0 is set to start at `boot`, the others wait for a SIPI.
    /// The VM's irqchip exists. `on_stop` comes on a vCPU's thread.
    static Result<Cpus> create(const kvm::System& system, kvm::Vm& vm, GuestMemory& memory,
                               const CpuConfig& config, const boot::BootState& boot, Bus& pio, Bus& mmio,
                               const std::function<void(const VcpuStop&)>& on_stop);

    void resume();
    /// Returns once every vCPU is parked.
    void pause();
    /// Of each vCPU, all of them parked.
    [[nodiscard]] Result<std::vector<CpuRegisters>> registers() const;
    /// Of each vCPU. Any thread.
    [[nodiscard]] std::vector<VcpuMetrics> metrics() const;
    /// Exits to hako so far, over all vCPUs.
    [[nodiscard]] std::uint64_t exits() const;

  private:
    Cpus() = default;
    std::vector<std::unique_ptr<VcpuThread>> threads_;
};

}  // namespace hako
