// Loads the kernel, whichever of the formats hako knows it is.
#pragma once

#include "vmm/base/result.h"
#include "vmm/boot/boot_state.h"
#include "vmm/boot/config.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// Puts kernel, initrd, command line and the boot protocol's tables into guest memory. The ACPI tables are
/// announced at layout::kAcpi; acpi::write_tables() puts them there, before or after.
/// Errors are Fault::kInput and name the file and what to do.
Result<BootState> load(GuestMemory& memory, const PayloadConfig& payload);

/// The same checks on the files alone, for a guest with `memory_size` bytes: `hako run --check`. The guest
/// memory it loads into is its own and is given back at once.
Result<> check(const PayloadConfig& payload, std::uint64_t memory_size);

}  // namespace hako::boot
