// Resource descriptors: what _CRS says a device uses. (ACPI 6.3, 6.4)
#pragma once

#include <cstdint>
#include <initializer_list>

#include "vmm/boot/acpi/aml.h"

namespace hako::acpi::resources {

/// ResourceTemplate: a buffer of descriptors and the end tag.
Bytes resource_template(std::initializer_list<Bytes> descriptors);

/// Ports [port, port + length), decoded with 16 bits.
Bytes io(std::uint16_t port, std::uint8_t length);
Bytes memory32_fixed(std::uint32_t address, std::uint32_t length);
/// An edge-triggered, active-high interrupt of one device (extended descriptor), by global system interrupt.
Bytes edge_interrupt(std::uint32_t gsi);

/// Windows a bridge passes on: buses [first, last], and uncached memory [start, start + size).
Bytes bus_numbers(std::uint16_t first, std::uint16_t last);
Bytes memory_window32(std::uint32_t start, std::uint32_t size);
/// Memory proper, of one device: cacheable.
Bytes memory64(std::uint64_t start, std::uint64_t size);
Bytes memory_window64(std::uint64_t start, std::uint64_t size);

// Where in memory64() its first and last address and its length stand.
inline constexpr std::uint64_t kMemory64First = 14;
inline constexpr std::uint64_t kMemory64Last = 22;
inline constexpr std::uint64_t kMemory64Length = 38;

}  // namespace hako::acpi::resources
