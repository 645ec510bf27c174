#include "vmm/machine/chassis.h"

#include <algorithm>
#include <utility>

#include "vmm/memory/layout.h"

namespace hako {
namespace {

/// Of each vCPU's ring: 16 MiB that it writes before it needs room.
constexpr std::uint32_t kRingEntries = 4096;

Result<> require_extensions(const kvm::System& system) {
    struct Extension {
        std::uint32_t capability;
        const char* name;
    };
    for (const auto& [capability, name] :
         {Extension{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"}, Extension{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
          Extension{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
          Extension{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
          Extension{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"}}) {
        if (system.extension(capability) == 0)
            return fail_host("this host's KVM lacks {} (`hako doctor` lists what hako needs)", name);
    }
    return {};
}

Result<> check_count(const kvm::System& system, std::uint32_t count) {
    const auto limit = static_cast<std::uint32_t>(std::max(system.extension(KVM_CAP_MAX_VCPUS), 1));
    if (count > limit) return fail_input("{} vCPUs: this host's KVM allows {}", count, limit);
    return {};
}

}  // namespace

Result<Chassis> Chassis::build(const MachineConfig& config, GuestMemory memory, HostResources resources,
                               DirtyLogMode dirty_log) {
    kvm::System system = HAKO_TRY(kvm::System::open());
    HAKO_TRY(require_extensions(system));
    HAKO_TRY(check_count(system, config.cpus.count));
    kvm::Vm vm = HAKO_TRY(system.create_vm());
    HAKO_TRY(vm.set_tss_and_identity_map(layout::kTss, layout::kIdentityMap));
    // Memory first: interrupt controllers leave SRCU callbacks behind, and a slot would wait milliseconds for
    // their grace period.
    for (std::uint32_t slot = 0; const MemoryRegion& region : memory.regions())
        HAKO_TRY(vm.set_memory_slot(slot++, region.base.value, region.host, region.size, 0));
    HAKO_TRY(vm.create_irqchip());
    if (dirty_log == DirtyLogMode::kRing && system.extension(KVM_CAP_DIRTY_LOG_RING) > 0)
        HAKO_TRY(vm.use_dirty_rings(kRingEntries));
    std::vector<kvm::Vcpu> vcpus;
    vcpus.reserve(config.cpus.count);
    for (std::uint32_t id = 0; id < config.cpus.count; ++id)
        vcpus.push_back(HAKO_TRY(vm.create_vcpu(id)));
    return Chassis{.cpu = HAKO_TRY(HostCpu::read(system, vm)),
                   .memory = std::move(memory),
                   .vm = std::move(vm),
                   .vcpus = std::move(vcpus),
                   .resources = std::move(resources)};
}

}  // namespace hako
