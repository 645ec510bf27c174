// Byte accesses to a device, as a guest's inb and outb.
#pragma once

#include <array>

#include "vmm/bus/bus.h"

namespace hako::test {

inline std::uint8_t in(BusDevice& device, std::uint64_t offset) {
    std::array<std::byte, 1> data{};
    device.read(offset, data);
    return std::to_integer<std::uint8_t>(data[0]);
}

inline void out(BusDevice& device, std::uint64_t offset, unsigned value) {
    const std::array<std::byte, 1> data = {static_cast<std::byte>(value)};
    device.write(offset, data);
}

}  // namespace hako::test
