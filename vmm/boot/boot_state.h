// What a loaded kernel needs to start: the loaders' answer, the vCPU set-up's question.
#pragma once

#include <cstdint>

#include "vmm/memory/guest_address.h"

namespace hako::boot {

enum class Protocol {
    kLinux64,  ///< Linux/x86 boot protocol, 64-bit entry point (Documentation/arch/x86/boot.rst)
    kPvh,      ///< Xen's x86/HVM direct boot ABI (PVH): 32-bit protected mode, no paging
};

struct BootState {
    Protocol protocol = Protocol::kLinux64;
    GuestAddress entry;     ///< first instruction
    GuestAddress argument;  ///< boot_params (goes to RSI) or hvm_start_info (goes to EBX)

    bool operator==(const BootState&) const = default;
};

}  // namespace hako::boot
