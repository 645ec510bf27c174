#include "vmm/machine/cpus.h"

#include <algorithm>

#include "vmm/base/log.h"
#include "vmm/boot/cpuid.h"
#include "vmm/boot/msrs.h"
#include "vmm/boot/vcpu_setup.h"
#include "vmm/kvm/msr_list.h"

namespace hako {
namespace {

Result<> set_up(kvm::Vcpu& vcpu, std::span<const kvm_cpuid_entry2> cpuid) {
    HAKO_TRY(vcpu.set_cpuid(cpuid));
    // A host that lacks one of these costs the guest speed, not correctness; say which.
    for (const std::uint32_t index : HAKO_TRY(vcpu.set_msrs(boot::boot_msrs(cpuid))))
        log_info("vCPU {}: this host's KVM refuses MSR {:#x}", vcpu.id(), index);
    return boot::set_up_local_apic(vcpu);
}

/// One line for all vCPUs: they tend to fare alike.
void log_losses(const kvm::VcpuRestored& outcome) {
    for (const kvm::Msr& msr : outcome.refused)
        log_warn("this host's KVM refuses MSR {:#x}: the guest had {:#x} there", msr.index, msr.value);
    if (outcome.tsc_error)
        log_warn("this host does not set the TSC: the guest's is off by {} ticks", *outcome.tsc_error);
}

}  // namespace

Result<Cpus> Cpus::create(const kvm::System& system, kvm::Vm& vm, std::vector<kvm::Vcpu> vcpus,
                          GuestMemory& memory, const boot::BootState& boot, Bus& pio, Bus& mmio,
                          const std::function<void(const VcpuStop&)>& on_stop) {
    const std::vector<kvm_cpuid_entry2> supported = HAKO_TRY(system.supported_cpuid());
    const boot::CpuidConfig cpuid_config{
        .vcpus = static_cast<std::uint32_t>(vcpus.size()),
        .tsc_deadline = system.extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0,
        .tsc_khz = vm.tsc_khz(),
    };

    Cpus cpus;
    cpus.msrs_ = HAKO_TRY(kvm::state_msrs(system));
    for (kvm::Vcpu& vcpu : vcpus) {
        cpus.cpuid_.push_back(boot::guest_cpuid(supported, vcpu.id(), cpuid_config));
        HAKO_TRY_WRAP(set_up(vcpu, cpus.cpuid_.back()), "vCPU {}", vcpu.id());
    }
    HAKO_TRY(boot::start_boot_vcpu(vcpus.front(), memory, boot));
    cpus.start_threads(std::move(vcpus), pio, mmio, on_stop);
    return cpus;
}

/// Last: an error before leaves no thread behind.
void Cpus::start_threads(std::vector<kvm::Vcpu> vcpus, Bus& pio, Bus& mmio,
                         const std::function<void(const VcpuStop&)>& on_stop) {
    std::vector<VcpuThread*> threads;
    for (kvm::Vcpu& vcpu : vcpus)
        threads.push_back(
            threads_.emplace_back(std::make_unique<VcpuThread>(std::move(vcpu), pio, mmio, on_stop)).get());
    brake_ = std::make_unique<CpuBrake>(std::move(threads));
}

Result<Cpus> Cpus::restore(const kvm::System& system, kvm::Vm& vm, std::vector<kvm::Vcpu> vcpus,
                           std::span<const kvm::VcpuState> states, const kvm::ClockState& saved_at,
                           const kvm::ClockState& now, Bus& pio, Bus& mmio,
                           const std::function<void(const VcpuStop&)>& on_stop) {
    if (vcpus.size() != states.size())
        return fail_input("{} vCPUs were saved, the machine has {}", states.size(), vcpus.size());
    Cpus cpus;
    cpus.msrs_ = HAKO_TRY(kvm::state_msrs(system));
    for (std::size_t i = 0; i < vcpus.size(); ++i) {
        const kvm::VcpuRestored outcome =
            HAKO_TRY_WRAP(kvm::restore_vcpu(vm, vcpus[i], states[i], saved_at, now), "vCPU {}", i);
        if (i == 0) log_losses(outcome);
        cpus.cpuid_.push_back(states[i].cpuid);
    }
    cpus.start_threads(std::move(vcpus), pio, mmio, on_stop);
    return cpus;
}

void Cpus::note_stopped() {
    for (const auto& thread : threads_)
        thread->vcpu().note_stopped();
}

void Cpus::resume() {
    for (const auto& thread : threads_)
        thread->resume();
}

void Cpus::halt() {
    for (const auto& thread : threads_)
        thread->request_park();
}

void Cpus::pause() {
    halt();
    for (const auto& thread : threads_)
        thread->wait_parked();
}

Result<std::vector<CpuRegisters>> Cpus::registers() const {
    std::vector<CpuRegisters> all;
    for (const auto& thread : threads_) {
        const kvm_regs general = HAKO_TRY(thread->vcpu().regs());
        const kvm_sregs special = HAKO_TRY(thread->vcpu().sregs());
        all.push_back({.general = general, .special = special});
    }
    return all;
}

Result<std::vector<kvm::VcpuState>> Cpus::save(const kvm::Vm& vm) const {
    std::vector<kvm::VcpuState> all;
    all.reserve(threads_.size());
    for (const auto& thread : threads_)
        all.push_back(HAKO_TRY_WRAP(kvm::save_vcpu(vm, thread->vcpu(), cpuid_[all.size()], msrs_), "vCPU {}",
                                    all.size()));
    return all;
}

std::vector<VcpuMetrics> Cpus::metrics() const {
    std::vector<VcpuMetrics> all;
    all.reserve(threads_.size());
    for (const auto& thread : threads_)
        all.push_back(thread->metrics());
    return all;
}

std::uint64_t Cpus::exits() const {
    std::uint64_t sum = 0;
    for (const auto& thread : threads_)
        sum += thread->exits();
    return sum;
}

}  // namespace hako
