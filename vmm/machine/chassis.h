// What a machine is built on, whatever it starts or goes on from: all of it can stand before that is known.
#pragma once

#include <vector>

#include "vmm/base/result.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/config.h"
#include "vmm/machine/cpu_compat.h"
#include "vmm/machine/dirty_log_mode.h"
#include "vmm/machine/host_resources.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// A VM of KVM without a guest. A migration's destination builds it while the guest still runs at the source.
struct Chassis {
    HostCpu cpu;                   ///< asked for once: it takes KVM a while to tell
    GuestMemory memory;            ///< in the VM's slots
    kvm::Vm vm;                    ///< with its interrupt controllers
    std::vector<kvm::Vcpu> vcpus;  ///< by number, as KVM makes them
    HostResources resources;

    /// `dirty_log`: of this, only rings count here, and only where this host has them.
    static Result<Chassis> build(const MachineConfig& config, GuestMemory memory, HostResources resources,
                                 DirtyLogMode dirty_log);
};

}  // namespace hako
