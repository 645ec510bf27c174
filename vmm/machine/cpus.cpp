#include "vmm/machine/cpus.h"

#include <algorithm>

#include "vmm/base/log.h"
#include "vmm/boot/cpuid.h"
#include "vmm/boot/msrs.h"
#include "vmm/boot/vcpu_setup.h"

namespace hako {
namespace {

Result<kvm::Vcpu> create_vcpu(kvm::Vm& vm, std::uint32_t id, std::span<const kvm_cpuid_entry2> supported,
                              const boot::CpuidConfig& cpuid_config) {
    kvm::Vcpu vcpu = HAKO_TRY(vm.create_vcpu(id));
    const std::vector<kvm_cpuid_entry2> cpuid = boot::guest_cpuid(supported, id, cpuid_config);
    HAKO_TRY(vcpu.set_cpuid(cpuid));
    // A host that lacks one of these costs the guest speed, not correctness; say which.
    for (const std::uint32_t index : HAKO_TRY(vcpu.set_msrs(boot::boot_msrs(cpuid))))
        log_info("vCPU {}: this host's KVM refuses MSR {:#x}", id, index);
    HAKO_TRY(boot::set_up_local_apic(vcpu));
    return vcpu;
}

}  // namespace

Result<Cpus> Cpus::create(const kvm::System& system, kvm::Vm& vm, GuestMemory& memory,
                          const CpuConfig& config, const boot::BootState& boot, Bus& pio, Bus& mmio,
                          const std::function<void(const VcpuStop&)>& on_stop) {
    const auto limit = static_cast<std::uint32_t>(std::max(system.extension(KVM_CAP_MAX_VCPUS), 1));
    if (config.count > limit) return fail_input("{} vCPUs: this host's KVM allows {}", config.count, limit);

    const std::vector<kvm_cpuid_entry2> supported = HAKO_TRY(system.supported_cpuid());
    const boot::CpuidConfig cpuid_config{
        .vcpus = config.count,
        .tsc_deadline = system.extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0,
        .tsc_khz = vm.tsc_khz(),
    };

    Cpus cpus;
    for (std::uint32_t id = 0; id < config.count; ++id) {
        kvm::Vcpu vcpu = HAKO_TRY_WRAP(create_vcpu(vm, id, supported, cpuid_config), "vCPU {}", id);
        if (id == 0) HAKO_TRY(boot::start_boot_vcpu(vcpu, memory, boot));
        cpus.threads_.push_back(std::make_unique<VcpuThread>(std::move(vcpu), pio, mmio, on_stop));
    }
    return cpus;
}

void Cpus::resume() {
    for (const auto& thread : threads_)
        thread->resume();
}

void Cpus::pause() {
    for (const auto& thread : threads_)
        thread->request_park();
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

std::vector<VcpuMetrics> Cpus::metrics() const {
    std::vector<VcpuMetrics> all;
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
