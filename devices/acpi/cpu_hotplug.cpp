#include "devices/acpi/cpu_hotplug.h"

namespace hako::acpi_pm {
namespace {

/// Only whole registers are there.
bool is_register(std::uint64_t offset, std::size_t size) {
    return size == kCpuStride && offset % kCpuStride == 0 && offset < kCpuHotplugPorts;
}

}  // namespace

void CpuHotplug::read(std::uint64_t offset, std::span<std::byte> data) {
    const bool whole = is_register(offset, data.size());
    store_le(data, whole ? units_.status(static_cast<unsigned>(offset / kCpuStride)) : 0);
}

void CpuHotplug::write(std::uint64_t offset, std::span<const std::byte> data) {
    if (!is_register(offset, data.size())) return;
    const auto cpu = static_cast<std::uint32_t>(offset / kCpuStride);
    if (units_.write(cpu, static_cast<std::uint32_t>(load_le(data)))) events_.cpu_ejected(cpu);
}

}  // namespace hako::acpi_pm
