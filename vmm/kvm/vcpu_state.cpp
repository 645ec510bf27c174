#include "vmm/kvm/vcpu_state.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "vmm/base/log.h"
#include "vmm/kvm/msr_list.h"

namespace hako::kvm {
namespace {

constexpr std::size_t kLvtTimer = 0x320;
constexpr std::uint32_t kLvtMasked = 1U << 16;
constexpr std::uint32_t kLvtTimerMode = 3U << 17;
constexpr std::uint32_t kLvtTscDeadline = 2U << 17;

/// What kvm_sregs and kvm_sregs2 have in common.
template <typename From, typename To>
void copy_sregs(const From& from, To& to) {
    to.cs = from.cs;
    to.ds = from.ds;
    to.es = from.es;
    to.fs = from.fs;
    to.gs = from.gs;
    to.ss = from.ss;
    to.tr = from.tr;
    to.ldt = from.ldt;
    to.gdt = from.gdt;
    to.idt = from.idt;
    to.cr0 = from.cr0;
    to.cr2 = from.cr2;
    to.cr3 = from.cr3;
    to.cr4 = from.cr4;
    to.cr8 = from.cr8;
    to.efer = from.efer;
    to.apic_base = from.apic_base;
}

/// SREGS2 of a host that has SREGS only: without the PDPTRs, which it reads from memory again.
kvm_sregs2 widen(const kvm_sregs& narrow) {
    kvm_sregs2 wide{};
    copy_sregs(narrow, wide);
    return wide;
}

/// And back. The interrupt in its bitmap is one of kvm_vcpu_events, too.
kvm_sregs narrow(const kvm_sregs2& wide) {
    kvm_sregs narrow{};
    copy_sregs(wide, narrow);
    return narrow;
}

Result<kvm_sregs2> read_sregs(const Vm& vm, const Vcpu& vcpu) {
    if (vm.extension(KVM_CAP_SREGS2) != 0) return vcpu.sregs2();
    return widen(HAKO_TRY(vcpu.sregs()));
}

Result<> set_sregs(const Vm& vm, Vcpu& vcpu, const kvm_sregs2& sregs) {
    if (vm.extension(KVM_CAP_SREGS2) != 0) return vcpu.set_sregs2(sregs);
    return vcpu.set_sregs(narrow(sregs));
}

std::uint32_t lapic_register(const VcpuState& state, std::size_t offset) {
    std::uint32_t value = 0;
    std::memcpy(&value, state.lapic.data() + offset, sizeof value);
    return value;
}

/// KVM clears IA32_TSC_DEADLINE when the timer fires, which may be before the interrupt is in the local APIC.
/// The deadline of such a guest is now: an interrupt too many, and not one too few.
void keep_fired_timer(VcpuState& state) {
    const std::uint32_t timer = lapic_register(state, kLvtTimer);
    if ((timer & kLvtTimerMode) != kLvtTscDeadline || (timer & kLvtMasked) != 0) return;
    const auto now = find_msr(state, msr::kTsc);
    for (Msr& msr : state.msrs)
        if (msr.index == msr::kTscDeadline && msr.value == 0 && now) msr.value = *now;
}

Result<> save_msrs(const Vcpu& vcpu, std::span<const std::uint32_t> indices, VcpuState& state) {
    MsrValues read = HAKO_TRY(vcpu.msrs(indices));
    for (const std::uint32_t index : read.refused)
        log_debug("vCPU {}: KVM does not tell MSR {:#x}: it is not saved", vcpu.id(), index);
    state.msrs = std::move(read.values);
    return {};
}

Result<> restore_xsave(const Vm& vm, Vcpu& vcpu, const VcpuState& state) {
    std::vector<std::uint8_t> area(vm.xsave_size());
    if (state.xsave.size() > area.size())
        return fail_input("{} bytes of XSAVE state were saved, this host has room for {}", state.xsave.size(),
                          area.size());
    std::ranges::copy(state.xsave, area.begin());
    return vcpu.set_xsave(area);
}

Result<> restore_xcrs(Vcpu& vcpu, const VcpuState& state) {
    if (state.xcrs.empty()) return {};  // a CPU without XSAVE
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = static_cast<std::uint32_t>(std::min<std::size_t>(state.xcrs.size(), KVM_MAX_XCRS));
    std::copy_n(state.xcrs.begin(), xcrs.nr_xcrs, xcrs.xcrs);
    return vcpu.set_xcrs(xcrs);
}

Result<> restore_tsc_rate(const Vm& vm, Vcpu& vcpu, const VcpuState& state) {
    const std::uint32_t host = vcpu.tsc_khz();
    if (state.tsc_khz == 0 || host == 0 || host == state.tsc_khz) return {};
    if (vm.extension(KVM_CAP_TSC_CONTROL) != 0) return vcpu.set_tsc_khz(state.tsc_khz);
    if (same_rate(state.tsc_khz, host)) return {};
    return fail_input("the guest's TSC ticks at {} kHz, this host's at {} kHz, and it cannot scale it",
                      state.tsc_khz, host);
}

/// Sets the offset and looks at what came of it: some hosts say yes and change nothing.
Result<> restore_tsc(Vcpu& vcpu, std::uint64_t offset, std::uint32_t khz, VcpuRestored& outcome) {
    HAKO_TRY(vcpu.set_tsc_offset(offset));
    const auto error = static_cast<std::int64_t>(vcpu.tsc_offset().value_or(offset) - offset);
    // Below a millisecond it is noise of the clocks by which the offset was worked out.
    if (error > -std::int64_t{khz} && error < std::int64_t{khz}) return {};
    outcome.tsc_error = error;
    return {};
}

/// Of what KVM refused: the MSRs that now do not have the guest's value.
Result<> judge_refused(Vcpu& vcpu, const VcpuState& state, std::span<const std::uint32_t> indices,
                       VcpuRestored& outcome) {
    const MsrValues now = HAKO_TRY(vcpu.msrs(indices));
    for (const std::uint32_t index : indices) {
        const Msr wanted{.index = index, .value = find_msr(state, index).value_or(0)};
        const bool same = std::ranges::find(now.values, wanted) != now.values.end();
        if (wanted.value == 0 || same) {
            log_debug("vCPU {}: this host's KVM refuses MSR {:#x}, which the guest does not use", vcpu.id(),
                      index);
            continue;
        }
        if (is_essential(index))
            return fail_host(
                "this host's KVM refuses MSR {:#x} = {:#x}, without which the guest cannot go on", index,
                wanted.value);
        outcome.refused.push_back(wanted);
    }
    return {};
}

}  // namespace

std::optional<std::uint64_t> find_msr(const VcpuState& state, std::uint32_t index) {
    const auto found = std::ranges::find(state.msrs, index, &Msr::index);
    return found == state.msrs.end() ? std::nullopt : std::optional(found->value);
}

Result<VcpuState> save_vcpu(const Vm& vm, const Vcpu& vcpu, std::span<const kvm_cpuid_entry2> cpuid,
                            std::span<const std::uint32_t> msrs) {
    VcpuState state;
    state.id = vcpu.id();
    // First: reading it makes KVM take pending INIT and SIPI events, which changes the rest.
    state.mp_state = HAKO_TRY(vcpu.mp_state());
    state.regs = HAKO_TRY(vcpu.regs());
    // With the PDPTRs: a guest in PAE mode may have changed those in memory since it loaded them.
    state.sregs = HAKO_TRY(read_sregs(vm, vcpu));
    state.xsave = HAKO_TRY(vcpu.xsave(vm.xsave_size()));
    while (!state.xsave.empty() && state.xsave.back() == 0)
        state.xsave.pop_back();
    const kvm_xcrs xcrs = HAKO_TRY(vcpu.xcrs());
    state.xcrs.assign(xcrs.xcrs, xcrs.xcrs + std::min<std::uint32_t>(xcrs.nr_xcrs, KVM_MAX_XCRS));
    state.debugregs = HAKO_TRY(vcpu.debugregs());
    const kvm_lapic_state lapic = HAKO_TRY(vcpu.lapic());
    std::memcpy(state.lapic.data(), lapic.regs, sizeof lapic.regs);
    HAKO_TRY(save_msrs(vcpu, msrs, state));
    keep_fired_timer(state);
    // Last: the others may move an event between "pending" and "injected".
    state.events = HAKO_TRY(vcpu.events());
    state.tsc_khz = vcpu.tsc_khz();
    state.tsc_offset = vcpu.tsc_offset();
    state.cpuid.assign(cpuid.begin(), cpuid.end());
    state.seen_cpuid = HAKO_TRY(vcpu.cpuid());
    return state;
}

Result<VcpuRestored> restore_vcpu(const Vm& vm, Vcpu& vcpu, const VcpuState& state,
                                  const ClockState& saved_at, const ClockState& now) {
    VcpuRestored outcome;
    // All that follows is checked against it: features decide which registers there are.
    HAKO_TRY(vcpu.set_cpuid(state.cpuid));
    HAKO_TRY(restore_tsc_rate(vm, vcpu, state));
    HAKO_TRY(vcpu.set_mp_state(state.mp_state));
    // Before the events: it clears pending exceptions.
    HAKO_TRY(vcpu.set_regs(state.regs));
    // Before the local APIC: it sets the APIC's base and mode.
    HAKO_TRY(set_sregs(vm, vcpu, state.sregs));
    HAKO_TRY(restore_xsave(vm, vcpu, state));
    HAKO_TRY(restore_xcrs(vcpu, state));
    HAKO_TRY(vcpu.set_debugregs(state.debugregs));
    // Before the MSRs: IA32_TSC_DEADLINE is dropped unless the timer is in its mode.
    kvm_lapic_state lapic{};
    std::memcpy(lapic.regs, state.lapic.data(), sizeof lapic.regs);
    HAKO_TRY(vcpu.set_lapic(lapic));

    // The TSC before the deadline, which else would be armed for a wrong time. By the offset, which is the
    // same for all vCPUs; where there is none by value, which KVM rounds to that of the other vCPUs.
    std::vector<Msr> msrs = in_restore_order(state.msrs);
    const auto tsc = std::ranges::find(msrs, msr::kTsc, &Msr::index);
    const std::uint32_t khz = state.tsc_khz != 0 ? state.tsc_khz : vcpu.tsc_khz();
    if (state.tsc_offset && vcpu.tsc_offset()) {
        HAKO_TRY(restore_tsc(vcpu, tsc_offset(*state.tsc_offset, saved_at, now, khz), khz, outcome));
        if (tsc != msrs.end()) msrs.erase(tsc);
    } else if (tsc != msrs.end()) {
        tsc->value += static_cast<std::uint64_t>(tsc_ticks(saved_at, now, khz));
        std::rotate(msrs.begin(), tsc, tsc + 1);
    }
    const std::vector<std::uint32_t> refused = HAKO_TRY(vcpu.set_msrs(msrs));
    HAKO_TRY(judge_refused(vcpu, state, refused, outcome));
    // Last: registers, mode and APIC are what the event was on its way into.
    HAKO_TRY(vcpu.set_events(state.events));
    return outcome;
}

}  // namespace hako::kvm
