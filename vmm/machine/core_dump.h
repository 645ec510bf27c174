// A machine's memory and registers as a core file that debuggers open.
#pragma once

#include <span>
#include <string>

#include "vmm/base/result.h"
#include "vmm/machine/cpus.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// Makes the file `path` (mode 0600), which must not be there yet: ELF64, ET_CORE. Each vCPU is an
/// NT_PRSTATUS note (its thread is number + 1) and a note of the name and layout in which QEMU tells control
/// and segment registers, where `crash` looks for them. Guest RAM is one PT_LOAD a region, by guest-physical
/// address; pages that nobody touched are holes. Nothing may change the memory meanwhile. An error leaves no
/// file behind.
Result<> write_core(const std::string& path, const GuestMemory& memory, std::span<const CpuRegisters> cpus);

}  // namespace hako
