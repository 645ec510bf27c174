#include "vmm/boot/initrd.h"

#include <algorithm>

#include "vmm/boot/memory_map.h"
#include "vmm/memory/layout.h"

namespace hako::boot {

Result<Initrd> load_initrd(GuestMemory& memory, const PayloadFile& file, std::uint64_t floor,
                           std::uint64_t ceiling) {
    const std::uint64_t top = std::min(low_ram_end(memory), ceiling);
    const std::uint64_t start = file.size() <= top ? align_down(top - file.size(), kPageSize) : 0;
    if (start >= floor) {
        HAKO_TRY(file.load(memory, GuestAddress{start}, 0, file.size()));
        return Initrd{GuestAddress{start}, file.size()};
    }
    const auto end = checked_add(align_up(floor, kPageSize), file.size());
    if (!end || *end > std::min(ceiling, layout::kRamHole))
        return fail_input(
            "{} ({} bytes) is too large: it must lie between {:#x} and {:#x}; use a smaller one", file.name(),
            file.size(), floor, ceiling);
    return fail_input(
        "{} ({} bytes) does not fit into RAM behind the kernel: give the guest at least {} (--memory)",
        file.name(), file.size(), format_size(align_up(*end, MiB)));
}

}  // namespace hako::boot
