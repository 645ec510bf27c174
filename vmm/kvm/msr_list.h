// Which MSRs make up a vCPU's state, and what each is to a restore.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/vcpu.h"

namespace hako::kvm {

namespace msr {
inline constexpr std::uint32_t kTsc = 0x10;
inline constexpr std::uint32_t kFeatureControl = 0x3a;
inline constexpr std::uint32_t kArchCapabilities = 0x10a;
inline constexpr std::uint32_t kTscDeadline = 0x6e0;
}  // namespace msr

/// What to save on this host.
[[nodiscard]] Result<std::vector<std::uint32_t>> state_msrs(const System& system);
/// Of KVM_GET_MSR_INDEX_LIST: with the MTRRs, which are not in it, and without Hyper-V's. In order, each
/// once.
[[nodiscard]] std::vector<std::uint32_t> select_msrs(std::vector<std::uint32_t> indices);

/// A guest that lost the value could not go on: system call entries, its clock page, and the like.
[[nodiscard]] bool is_essential(std::uint32_t index);

/// The order of a restore. IA32_FEATURE_CONTROL comes first, since it locks; IA32_TSC_DEADLINE last, since it
/// is a time of the guest's TSC and arms a timer of the local APIC, and both are set by then.
[[nodiscard]] std::vector<Msr> in_restore_order(std::span<const Msr> msrs);

}  // namespace hako::kvm
