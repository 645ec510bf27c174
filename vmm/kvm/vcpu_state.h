// All of a vCPU, and the one order in which it is read and set.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/units.h"
#include "vmm/kvm/clock.h"
#include "vmm/kvm/fields.h"
#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

namespace hako::kvm {

/// There is no nested state: boot::guest_cpuid() offers neither VMX nor SVM.
struct VcpuState {
    std::uint32_t id = 0;        ///< its number: in a saved state the section's instance
    std::uint32_t mp_state = 0;  ///< KVM_MP_STATE_*
    kvm_regs regs{};
    kvm_sregs2 sregs{};
    std::vector<std::uint8_t> xsave;  ///< standard format; zeros at its end are left out
    std::vector<kvm_xcr> xcrs;
    kvm_debugregs debugregs{};
    std::array<std::uint8_t, KVM_APIC_REG_SIZE> lapic{};  ///< the register page (SDM volume 3, 11.4.1)
    std::vector<Msr> msrs;                                ///< that KVM gave, zeros too
    kvm_vcpu_events events{};
    std::uint32_t tsc_khz = 0;                ///< 0: the host did not tell
    std::optional<std::uint64_t> tsc_offset;  ///< modulo 2^64; nothing: the host did not tell
    std::vector<kvm_cpuid_entry2> cpuid;      ///< as set, which is not what any host supports
    /// As KVM tells it: the same but for bits that follow registers, or what a KVM shows that does not let
    /// CPUID be set.
    std::vector<kvm_cpuid_entry2> seen_cpuid;
};

/// The MSR's saved value, or nothing.
[[nodiscard]] std::optional<std::uint64_t> find_msr(const VcpuState& state, std::uint32_t index);

/// Reads the vCPU, which is parked with its last exit finished, and whose VM has its devices paused: what
/// they raised is in its local APIC. `cpuid`: as it was set. `msrs`: state_msrs().
Result<VcpuState> save_vcpu(const Vm& vm, const Vcpu& vcpu, std::span<const kvm_cpuid_entry2> cpuid,
                            std::span<const std::uint32_t> msrs);

/// What did not go as asked, and was no reason to give up.
struct VcpuRestored {
    std::vector<Msr> refused;  ///< the guest had these values, and has lost them
    /// The host took the TSC offset and did not set it: the guest's TSC is off by so many ticks.
    std::optional<std::int64_t> tsc_error;
};

/// Sets a new vCPU. The VM's interrupt controllers and its clock are set; `saved_at` and `now`: the moments
/// of restore_clock(). The devices do nothing yet.
Result<VcpuRestored> restore_vcpu(const Vm& vm, Vcpu& vcpu, const VcpuState& state,
                                  const ClockState& saved_at, const ClockState& now);

}  // namespace hako::kvm

namespace hako::state {

template <>
struct Fields<kvm::VcpuState> {
    using T = kvm::VcpuState;
    static constexpr auto list = std::tuple(
        field("mp_state", &T::mp_state), field("regs", &T::regs), field("sregs", &T::sregs),
        upto(64 * KiB, "xsave", &T::xsave), upto(KVM_MAX_XCRS, "xcrs", &T::xcrs),
        field("debugregs", &T::debugregs), field("lapic", &T::lapic), upto(4096, "msrs", &T::msrs),
        field("events", &T::events), field("tsc_khz", &T::tsc_khz), hex("tsc_offset", &T::tsc_offset),
        upto(256, "cpuid", &T::cpuid), upto(256, "seen_cpuid", &T::seen_cpuid));
};

}  // namespace hako::state
