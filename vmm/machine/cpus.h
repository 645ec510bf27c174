// All vCPUs of a machine: created with the same policy, parked and released together, plugged and unplugged.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "vmm/boot/boot_state.h"
#include "vmm/bus/bus.h"
#include "vmm/kvm/clock.h"
#include "vmm/kvm/vcpu_state.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/cpu_brake.h"
#include "vmm/machine/cpu_compat.h"
#include "vmm/machine/vcpu_thread.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// What a debugger wants of a vCPU.
struct CpuRegisters {
    kvm_regs general;
    kvm_sregs special;
};

/// What vCPUs run on and tell; all of it outlives them.
struct CpuPlace {
    kvm::Vm& vm;
    Bus& pio;
    Bus& mmio;
    std::function<void(const VcpuStop&)> on_stop;  ///< on a vCPU's thread
    std::function<void()> on_full_ring;            ///< the same: its dirty ring is full
};

/// Control thread, but for metrics() and throttle().
class Cpus {
  public:
    /// Takes vCPUs in KVM's reset state, parked; vCPU 0 is set to start at `boot`, the others wait for a
    /// SIPI. `most`: how many there may be once all are plugged.
    static Result<Cpus> create(const HostCpu& host, CpuPlace place, std::vector<kvm::Vcpu> vcpus,
                               std::uint32_t most, GuestMemory& memory, const boot::BootState& boot);

    /// As create(), with vCPUs that go on from `states`, whose ids are below `most`; what this host does not
    /// give them is logged. Of `vcpus`, those that no state is for are kept for later, and those that are
    /// missing are made. The VM's interrupt controllers are restored, and its clock (see kvm::restore_clock()
    /// for the two moments).
    static Result<Cpus> restore(const HostCpu& host, CpuPlace place, std::vector<kvm::Vcpu> vcpus,
                                std::uint32_t most, std::span<const kvm::VcpuState> states,
                                const kvm::ClockState& saved_at, const kvm::ClockState& now);

    /// Makes vCPU `id`, if there is none, parked and waiting for INIT and SIPI. All vCPUs are parked.
    Result<> plug(std::uint32_t id);
    /// Ends the vCPU's thread, whatever it does. KVM does not let go of a vCPU: it is kept for the next
    /// plug().
    void unplug(std::uint32_t id);
    [[nodiscard]] bool has(std::uint32_t id) const { return id < slots_.size() && slots_[id].thread; }

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
    /// All of each vCPU but those for which `which` says false. They are parked, and the devices paused.
    [[nodiscard]] Result<std::vector<kvm::VcpuState>> save(
        const std::function<bool(std::uint32_t id)>& which) const;
    /// See CpuBrake::set(). Nothing is plugged meanwhile.
    void throttle(unsigned percent) { brake_->set(percent); }
    /// Of each vCPU. Any thread.
    [[nodiscard]] std::vector<VcpuMetrics> metrics() const;
    /// Exits to hako so far, over all vCPUs.
    [[nodiscard]] std::uint64_t exits() const;

  private:
    /// One of the numbers that a vCPU may have.
    struct Slot {
        std::unique_ptr<VcpuThread> thread;   ///< if it is plugged
        std::optional<kvm::Vcpu> spare;       ///< if it is not, but was, or will be
        bool fresh = true;                    ///< the spare has never run
        std::vector<kvm_cpuid_entry2> cpuid;  ///< as set, if it was ever plugged
    };

    Cpus(CpuPlace place, std::uint32_t most) : place_(std::move(place)), slots_(most) {}
    Result<> keep(std::vector<kvm::Vcpu> vcpus);
    Result<> make_spare(Slot& slot, std::uint32_t id);
    Result<> set_up_like_first(Slot& slot, std::uint32_t id);
    void start(Slot& slot);
    void renew_brake();

    CpuPlace place_;
    std::vector<Slot> slots_;          ///< by id
    std::vector<std::uint32_t> msrs_;  ///< that are state
    std::unique_ptr<CpuBrake> brake_;
    /// Held by who starts and ends threads, and by who reads on another thread.
    std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
};

}  // namespace hako
