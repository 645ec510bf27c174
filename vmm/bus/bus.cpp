#include "vmm/bus/bus.h"

#include <algorithm>
#include <mutex>

#include "vmm/base/units.h"

namespace hako {

Result<> Bus::insert(std::uint64_t base, std::uint64_t size, BusDevice& device, std::string name) {
    const auto end = checked_add(base, size);
    if (size == 0 || !end) return fail_host("{}: range {:#x}+{:#x} is not a range", name, base, size);

    const std::unique_lock lock(mutex_);
    const auto next = ranges_.lower_bound(base);
    if (next != ranges_.end() && next->first < *end)
        return fail_host("{}: range {:#x}+{:#x} overlaps {}", name, base, size, next->second.name);
    if (next != ranges_.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second.size > base)
            return fail_host("{}: range {:#x}+{:#x} overlaps {}", name, base, size, before->second.name);
    }
    ranges_.emplace_hint(next, base, Range{size, &device, std::move(name)});
    return {};
}

bool Bus::remove(std::uint64_t base) {
    const std::unique_lock lock(mutex_);
    return ranges_.erase(base) == 1;
}

Bus::Target Bus::find(std::uint64_t address, std::size_t length) const {
    const std::shared_lock lock(mutex_);
    auto range = ranges_.upper_bound(address);
    if (range == ranges_.begin()) return {nullptr, 0};
    --range;
    const std::uint64_t offset = address - range->first;
    if (offset >= range->second.size || length > range->second.size - offset) return {nullptr, 0};
    return {range->second.device, offset};
}

bool Bus::read(std::uint64_t address, std::span<std::byte> data) {
    const Target target = find(address, data.size());
    if (target.device == nullptr) {
        const bool quiet = address >= quiet_base_ && address - quiet_base_ < quiet_size_;
        std::ranges::fill(data, quiet ? std::byte{0} : std::byte{0xff});
        return false;
    }
    target.device->read(target.offset, data);
    return true;
}

bool Bus::write(std::uint64_t address, std::span<const std::byte> data) {
    const Target target = find(address, data.size());
    if (target.device == nullptr) return false;
    target.device->write(target.offset, data);
    return true;
}

}  // namespace hako
