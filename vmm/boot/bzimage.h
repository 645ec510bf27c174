// Linux bzImage by the 64-bit boot protocol. (Linux: Documentation/arch/x86/boot.rst)
#pragma once

#include <string_view>

#include "vmm/base/result.h"
#include "vmm/boot/boot_state.h"
#include "vmm/boot/payload_file.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// True if the file has a Linux setup header ("HdrS" at 0x202), sound or not.
bool is_bzimage(const PayloadFile& kernel);

/// Loads the protected-mode part at its preferred address, the initrd (may be null), the command line and the
/// zero page (struct boot_params). Everything in the header is checked against the file and RAM before it is
/// used.
Result<BootState> load_bzimage(GuestMemory& memory, const PayloadFile& kernel, const PayloadFile* initrd,
                               std::string_view command_line);

}  // namespace hako::boot
