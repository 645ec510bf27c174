// Whether this host can go on running a guest that has looked at another host's CPU.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vcpu_state.h"
#include "vmm/kvm/vm.h"

namespace hako {

/// What a host offers.
struct HostCpu {
    std::vector<kvm_cpuid_entry2> cpuid;  ///< KVM_GET_SUPPORTED_CPUID
    std::vector<std::uint32_t> msrs;      ///< kvm::state_msrs()
    bool tsc_deadline = false;            ///< KVM_CAP_TSC_DEADLINE_TIMER
    bool tsc_scaling = false;             ///< KVM_CAP_TSC_CONTROL
    std::uint32_t tsc_khz = 0;            ///< 0: not known
    std::optional<std::uint64_t> arch_capabilities;

    /// Of this host; the TSC's rate is a VM's.
    static Result<HostCpu> read(const kvm::System& system, const kvm::Vm& vm);
};

/// What the entries `guest` tell and `host` do not, each on a line that names leaf, register and bit: "CPUID
/// leaf 0x7, EBX bit 16". Topology and sizes that KVM works out by itself are not compared. Pure.
[[nodiscard]] std::vector<std::string> cpuid_differences(std::span<const kvm_cpuid_entry2> guest,
                                                         std::span<const kvm_cpuid_entry2> host,
                                                         bool tsc_deadline);

/// What the guest was told and this host does not have: of CPUID, as above, of its MSRs and of the TSC's
/// rate. Empty if the guest can go on here. Pure.
[[nodiscard]] std::vector<std::string> cpu_differences(const kvm::VcpuState& guest, const HostCpu& host);

/// Such differences, if there are any, as a Fault::kInput that tells the first of them.
[[nodiscard]] Result<> refuse_differences(std::span<const std::string> differences);

}  // namespace hako
