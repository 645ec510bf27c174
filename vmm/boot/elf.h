// ELF kernels by Xen's direct boot ABI (PVH). (Xen: docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h)
#pragma once

#include <string_view>

#include "vmm/base/result.h"
#include "vmm/boot/boot_state.h"
#include "vmm/boot/payload_file.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// True if the file starts with ELF's magic number, sound or not.
bool is_elf(const PayloadFile& kernel);

/// Loads the segments of a 32- or 64-bit x86 ELF at their physical addresses, which must lie in RAM at or
/// above 1 MiB, the initrd (may be null), the command line and hvm_start_info. The entry point is that of the
/// note XEN_ELFNOTE_PHYS32_ENTRY. Memory is as GuestMemory::create() left it: .bss is zero already.
Result<BootState> load_elf(GuestMemory& memory, const PayloadFile& kernel, const PayloadFile* initrd,
                           std::string_view command_line);

}  // namespace hako::boot
