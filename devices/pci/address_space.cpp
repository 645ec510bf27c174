#include "devices/pci/address_space.h"

#include <bit>

#include "vmm/base/units.h"
#include "vmm/memory/layout.h"

namespace hako::pci {
namespace {

bool inside(const Window& window, std::uint64_t base, std::uint64_t size) {
    return base >= window.base && size <= window.size && base - window.base <= window.size - size;
}

}  // namespace

Windows windows_above(GuestAddress ram_end, std::uint16_t segment, std::uint16_t segments) {
    const std::uint64_t low = layout::segment_share(layout::kMmio32End - layout::kMmio32, segments);
    const std::uint64_t high = layout::segment_share(layout::kMmio64Size, segments);
    return {
        .low = {.base = layout::kMmio32 + segment * low, .size = low},
        .high = {.base = layout::mmio64_base(ram_end.value) + segment * high, .size = high},
    };
}

Result<std::uint64_t> AddressSpace::allocate(BarType type, std::uint64_t size) {
    if (!std::has_single_bit(size)) return fail_host("a BAR of {:#x} bytes", size);
    const Window& window = type == BarType::kMemory64 ? windows_.high : windows_.low;

    const std::lock_guard lock(mutex_);
    std::uint64_t base = align_up(window.base, size);
    for (const auto& [taken, length] : taken_) {
        if (taken + length <= base) continue;
        if (taken >= base && taken - base >= size) break;
        base = align_up(taken + length, size);
    }
    if (!inside(window, base, size))
        return fail_host("no PCI address space left for {}: remove a device", format_size(size));
    taken_.emplace(base, size);
    return base;
}

Result<> AddressSpace::reserve(std::uint64_t base, std::uint64_t size) {
    if (size == 0 || !is_aligned(base, size) || !decodes(base, size))
        return fail_input("PCI address {:#x} ({} long) lies outside the VM's PCI windows", base,
                          format_size(size));
    const std::lock_guard lock(mutex_);
    const auto next = taken_.lower_bound(base);
    const bool hits_next = next != taken_.end() && next->first - base < size;
    const bool hits_before =
        next != taken_.begin() && base - std::prev(next)->first < std::prev(next)->second;
    if (hits_next || hits_before)
        return fail_input("PCI address {:#x} ({} long) already belongs to another device", base,
                          format_size(size));
    taken_.emplace_hint(next, base, size);
    return {};
}

void AddressSpace::release(std::uint64_t base) {
    const std::lock_guard lock(mutex_);
    taken_.erase(base);
}

bool AddressSpace::decodes(std::uint64_t base, std::uint64_t size) const {
    return inside(windows_.low, base, size) || inside(windows_.high, base, size);
}

}  // namespace hako::pci
