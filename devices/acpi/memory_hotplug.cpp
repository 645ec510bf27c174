#include "devices/acpi/memory_hotplug.h"

#include <algorithm>

#include "vmm/memory/layout.h"

namespace hako::acpi_pm {
namespace {

constexpr std::size_t kRegisterSize = 4;

}  // namespace

void MemoryHotplug::read(std::uint64_t offset, std::span<std::byte> data) {
    const std::uint64_t piece = offset / kMemoryStride;
    std::uint64_t value = 0;
    if (data.size() == kRegisterSize) {
        const std::lock_guard lock(mutex_);
        const bool there = piece < pieces_.size();
        switch (offset % kMemoryStride) {
            case kMemoryStatus:
                value = units_.status(static_cast<unsigned>(piece));
                break;
            case kMemoryAddress:
                if (there) value = pieces_[piece].address / layout::kMemoryUnit;
                break;
            case kMemorySize:
                if (there) value = pieces_[piece].size / layout::kMemoryUnit;
                break;
            default:
                break;
        }
    }
    store_le(data, value);
}

void MemoryHotplug::write(std::uint64_t offset, std::span<const std::byte> data) {
    if (data.size() != kRegisterSize || offset % kMemoryStride != kMemoryStatus) return;
    const auto piece = static_cast<unsigned>(offset / kMemoryStride);
    const auto value = static_cast<std::uint32_t>(load_le(data));
    if ((value & kMemoryKept) != 0 && piece < kMaxUnits) units_.withdraw(piece);
    if (units_.write(piece, value)) events_.memory_ejected(piece);
}

void MemoryHotplug::add(const MemoryPiece& piece) {
    const std::lock_guard lock(mutex_);
    pieces_.push_back(piece);
    units_.plug(static_cast<unsigned>(pieces_.size() - 1));
}

bool MemoryHotplug::plug_again(std::size_t count) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t enabled = units_.state().enabled;
    bool any = false;
    for (unsigned piece = 0; piece < std::min(count, pieces_.size()); ++piece) {
        if ((enabled >> piece & 1) != 0) continue;
        units_.plug(piece);
        any = true;
    }
    return any;
}

void MemoryHotplug::drop_last() {
    const std::lock_guard lock(mutex_);
    if (!pieces_.empty()) pieces_.pop_back();
}

MemoryHotplugState MemoryHotplug::state() const {
    const std::lock_guard lock(mutex_);
    return {.units = units_.state(), .pieces = pieces_};
}

}  // namespace hako::acpi_pm
