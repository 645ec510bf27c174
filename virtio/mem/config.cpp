#include "virtio/mem/config.h"

#include "vmm/memory/layout.h"

namespace hako::virtio::mem {

std::optional<Config> config_of(const MemoryConfig& memory) {
    if (memory.growth != MemoryGrowth::kVirtioMem || memory.room == 0) return std::nullopt;
    Config config;
    config.address = GuestAddress{layout::memory_room(memory.size)};
    config.region_size = memory.room;
    config.block_size = memory.block_size();
    config.requested = memory.plugged;
    // A guest that touches a huge page which the host has not is lost; here the driver hears of it.
    config.populate = memory.prefault || memory.hugepages;
    return config;
}

Result<> check(const MemoryConfig& memory) {
    if (memory.growth != MemoryGrowth::kVirtioMem) return {};
    if (memory.hugepages && memory.hugepage_size == 0)
        return fail_input("virtio-mem with huge pages: say of which size they are");
    const std::uint64_t block = memory.block_size();
    if (!is_aligned(memory.room, block))
        return fail_input("virtio-mem: memory may grow by a multiple of {}, not by {}", format_size(block),
                          format_size(memory.room));
    if (memory.plugged > memory.room || !is_aligned(memory.plugged, block))
        return fail_input("virtio-mem: the guest can plug a multiple of {}, {} at most, not {}",
                          format_size(block), format_size(memory.room), format_size(memory.plugged));
    return {};
}

Result<MemoryConfig> resized(const MemoryConfig& memory, std::uint64_t bytes) {
    if (bytes < memory.size || bytes - memory.size > memory.room)
        return fail_input(
            "the VM has from {} to {} of memory (what it started with, and hotplug_size beyond that), not {}",
            format_size(memory.size), format_size(memory.size + memory.room), format_size(bytes));
    MemoryConfig next = memory;
    next.plugged = bytes - memory.size;
    HAKO_TRY(check(next));
    return next;
}

}  // namespace hako::virtio::mem
