// Where the initrd goes in guest memory.
#pragma once

#include <cstdint>

#include "vmm/base/result.h"
#include "vmm/boot/payload_file.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// A loaded initrd; size 0: there is none.
struct Initrd {
    GuestAddress address;
    std::uint64_t size = 0;
};

/// Loads `file` as high as it goes, page aligned, at or above `floor` (the end of the kernel) and, up to its
/// last byte, below `ceiling` (what the kernel takes) and the end of low RAM.
Result<Initrd> load_initrd(GuestMemory& memory, const PayloadFile& file, std::uint64_t floor,
                           std::uint64_t ceiling);

}  // namespace hako::boot
