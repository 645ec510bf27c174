#include "vmm/boot/memory_map.h"

#include "vmm/memory/layout.h"

namespace hako::boot {

std::uint64_t low_ram_end(const GuestMemory& memory) {
    return memory.regions().front().size;
}

std::vector<MemoryRange> memory_map(const GuestMemory& memory) {
    std::vector<MemoryRange> map;
    const auto add = [&map](std::uint64_t start, std::uint64_t end, MemoryType type) {
        if (end > start) map.push_back({GuestAddress{start}, end - start, type});
    };
    add(0, layout::kLowMemoryEnd, MemoryType::kRam);
    add(layout::kBios, layout::kBiosEnd, MemoryType::kReserved);
    add(layout::kKernel, low_ram_end(memory), MemoryType::kRam);
    // Linux uses ECAM only where firmware says that nobody else lives there.
    add(layout::kEcam, layout::kEcamEnd, MemoryType::kReserved);
    // The identity-map page and the TSS that KVM keeps in guest-physical space on some Intel hosts.
    add(layout::kIdentityMap, layout::kTss + 3 * kPageSize, MemoryType::kReserved);
    for (const MemoryRegion& region : memory.boot_regions().subspan(1))
        add(region.base.value, region.base.value + region.size, MemoryType::kRam);
    return map;
}

}  // namespace hako::boot
