// The MSRs hako sets before a vCPU first runs.
#pragma once

#include <span>
#include <vector>

#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vcpu.h"

namespace hako::boot {

/// What firmware would have set, for every vCPU; all else is KVM's reset value. `cpuid` is the guest's: MSRs
/// of features it does not have are left out. A host that refuses one (Vcpu::set_msrs) loses no more than
/// speed.
std::vector<kvm::Msr> boot_msrs(std::span<const kvm_cpuid_entry2> cpuid);

}  // namespace hako::boot
