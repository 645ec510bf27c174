// All vCPUs of a machine: created with the same policy, parked and released together.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "vmm/boot/boot_state.h"
#include "vmm/bus/bus.h"
#include "vmm/kvm/clock.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/vcpu_state.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/cpu_brake.h"
#include "vmm/machine/vcpu_thread.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// What a debugger wants of a vCPU.
struct CpuRegisters {
    kvm_regs general;
    kvm_sregs special;
};

class Cpus {
  public:
    /// Takes vCPUs in KVM's reset state, parked; vCPU 0 is set to start at `boot`, the others wait for a
    /// SIPI. `on_stop` comes on a vCPU's thread.
    static Result<Cpus> create(const kvm::System& system, kvm::Vm& vm, std::vector<kvm::Vcpu> vcpus,
                               GuestMemory& memory, const boot::BootState& boot, Bus& pio, Bus& mmio,
                               const std::function<void(const VcpuStop&)>& on_stop);

    /// As create(), with vCPUs that go on from `states`; what this host does not give them is logged. The
    /// VM's interrupt controllers are restored, and its clock (see kvm::restore_clock() for the two moments).
    static Result<Cpus> restore(const kvm::System& system, kvm::Vm& vm, std::vector<kvm::Vcpu> vcpus,
                                std::span<const kvm::VcpuState> states, const kvm::ClockState& saved_at,
                                const kvm::ClockState& now, Bus& pio, Bus& mmio,
                                const std::function<void(const VcpuStop&)>& on_stop);

    void resume();
    /// Tells each guest CPU, before resume(), that time has passed which it did not see.
    void note_stopped();
    /// Returns once every vCPU is parked.
    void pause();
    /// As pause(), and returns at once: one that waits for a page of memory may not park before it has it.
    /// resume() takes it back.
    void halt();
    /// Of each vCPU, all of them parked.
    [[nodiscard]] Result<std::vector<CpuRegisters>> registers() const;
    /// All of each vCPU. They are parked, and the devices paused.
    [[nodiscard]] Result<std::vector<kvm::VcpuState>> save(const kvm::Vm& vm) const;
    /// See CpuBrake::set().
    void throttle(unsigned percent) { brake_->set(percent); }
    /// Of each vCPU. Any thread.
    [[nodiscard]] std::vector<VcpuMetrics> metrics() const;
    /// Exits to hako so far, over all vCPUs.
    [[nodiscard]] std::uint64_t exits() const;

  private:
    Cpus() = default;
    void start_threads(std::vector<kvm::Vcpu> vcpus, Bus& pio, Bus& mmio,
                       const std::function<void(const VcpuStop&)>& on_stop);

    std::vector<std::unique_ptr<VcpuThread>> threads_;
    std::vector<std::vector<kvm_cpuid_entry2>> cpuid_;  ///< of each, as set
    std::vector<std::uint32_t> msrs_;                   ///< that are state
    std::unique_ptr<CpuBrake> brake_;
};

}  // namespace hako
