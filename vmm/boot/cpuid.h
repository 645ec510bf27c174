// What CPU the guest sees: the one place of CPUID policy.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/kvm/uapi.h"

namespace hako::boot {

/// What this host's KVM can do, and the VM's shape: all that the policy depends on beside the CPUID entries.
struct CpuidConfig {
    std::uint32_t vcpus = 1;    ///< 1 to kMaxVcpus
    bool tsc_deadline = false;  ///< KVM_CAP_TSC_DEADLINE_TIMER
    std::uint32_t tsc_khz = 0;  ///< KVM_GET_TSC_KHZ; 0: unknown
};

/// The CPUID of vCPU `vcpu` (its APIC id too): `supported` (KVM_GET_SUPPORTED_CPUID) with the policy applied.
/// One socket of `vcpus` cores with one thread each. Pure; the same input gives the same CPU on every host.
std::vector<kvm_cpuid_entry2> guest_cpuid(std::span<const kvm_cpuid_entry2> supported, std::uint32_t vcpu,
                                          const CpuidConfig& config);

/// The CPUID of vCPU `vcpu` of a VM in which another vCPU has `other`: one that comes later is like those
/// that are there, whichever host they began on. Pure.
std::vector<kvm_cpuid_entry2> sibling_cpuid(std::span<const kvm_cpuid_entry2> other, std::uint32_t vcpu);

}  // namespace hako::boot
