// The state a vCPU starts in: what a boot loader or firmware would have left behind.
#pragma once

#include "vmm/base/result.h"
#include "vmm/boot/boot_state.h"
#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// Writes the tables that apply() points the boot vCPU at: a GDT at layout::kGdt and, at layout::kPageTables,
/// an identity map of the first 4 GiB in 2 MiB pages. False if RAM is too small for them.
bool write_boot_tables(GuestMemory& memory);

/// Changes reset-state registers to those the protocol wants at its entry point. Pure.
/// kLinux64: 64-bit mode with paging, flat segments 0x10 and 0x18, RSI = boot_params, interrupts off.
/// kPvh: 32-bit protected mode without paging, flat segments, EBX = hvm_start_info, interrupts off.
void apply(const BootState& state, kvm_regs& regs, kvm_sregs& sregs);

/// Sets LINT0 to ExtINT and LINT1 to NMI, as firmware leaves them (MultiProcessor Specification 1.4, 3.6.1,
/// virtual wire mode). For every vCPU.
void set_local_interrupts(kvm_lapic_state& lapic);

/// Tables and registers for vCPU 0. Other vCPUs stay in KVM's reset state and wait for INIT and SIPI.
Result<> start_boot_vcpu(kvm::Vcpu& vcpu, GuestMemory& memory, const BootState& state);
/// set_local_interrupts() on a vCPU, the first one too; needs the in-kernel interrupt controllers.
Result<> set_up_local_apic(kvm::Vcpu& vcpu);

}  // namespace hako::boot
