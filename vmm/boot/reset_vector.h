// What a guest finds where a PC's firmware would start.
#pragma once

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// Puts code at layout::kResetVector that asks for a reset. Linux jumps there, in real mode, to reboot a
/// machine with hardware-reduced ACPI but no EFI (its BOOT_BIOS), and with reboot=bios; without the code it
/// would run on zeros. Error: the guest's RAM ends below.
Result<> write_reset_vector(GuestMemory& memory);

}  // namespace hako::boot
