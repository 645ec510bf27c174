// The memory map that both boot protocols give the guest.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// Types as in the BIOS call e820 (ACPI 6.3, table 15-374), which both protocols use.
enum class MemoryType : std::uint32_t {
    kRam = 1,
    kReserved = 2,
};

struct MemoryRange {
    GuestAddress start;
    std::uint64_t size = 0;
    MemoryType type = MemoryType::kRam;

    bool operator==(const MemoryRange&) const = default;
};

/// Upper bound on the length of memory_map(): the tables that carry it have fixed room.
inline constexpr std::size_t kMaxMemoryRanges = 8;

/// Ascending, disjoint: RAM without the legacy hole (640 KiB to 1 MiB), the ACPI tables, PCI ECAM and KVM's
/// own pages as reserved. What is not listed is free for devices.
std::vector<MemoryRange> memory_map(const GuestMemory& memory);

/// The end of RAM below 4 GiB, where everything that a boot protocol places must lie.
std::uint64_t low_ram_end(const GuestMemory& memory);

}  // namespace hako::boot
