// The guest-physical memory map: the one page that says where everything lies (x86-64).
#pragma once

#include <cstdint>

#include "vmm/base/units.h"

namespace hako::layout {

// Low memory, used by the loaders only until the kernel owns it.
inline constexpr std::uint64_t kGdt = 0x500;
inline constexpr std::uint64_t kPvhInfo = 0x6000;   ///< hvm_start_info, its module and memory map
inline constexpr std::uint64_t kZeroPage = 0x7000;  ///< struct boot_params (Linux boot protocol)
inline constexpr std::uint64_t kBootStack = 0x8ff0;
inline constexpr std::uint64_t kPageTables = 0x9000;  ///< PML4, PDPT, 4 page directories: 6 pages
inline constexpr std::uint64_t kCommandLine = 0x20000;
inline constexpr std::uint64_t kCommandLineMax = 64 * KiB;
inline constexpr std::uint64_t kLowMemoryEnd = 0xa0000;  ///< 640 KiB: legacy hole up to 1 MiB

// The legacy BIOS area, reported as reserved: ACPI's RSDP and tables, and the reset vector (F000:FFF0).
inline constexpr std::uint64_t kBios = 0xe0000;
inline constexpr std::uint64_t kBiosEnd = 0x100000;
inline constexpr std::uint64_t kAcpi = kBios;
inline constexpr std::uint64_t kAcpiEnd = 0xfe000;
/// 16 bytes in a page of their own; off the 16-byte boundaries at which systems look for firmware tables
/// here.
inline constexpr std::uint64_t kGenerationId = kAcpiEnd + 8;
inline constexpr std::uint64_t kResetVector = 0xffff0;

inline constexpr std::uint64_t kKernel = 0x100000;  ///< where bzImage's protected-mode part goes (1 MiB)

// The hole below 4 GiB. RAM is [0, kRamHole) and from 4 GiB up.
inline constexpr std::uint64_t kRamHole = 3 * GiB;
inline constexpr std::uint64_t kMmio32 = 0xc0000000;  ///< 32-bit PCI BARs
inline constexpr std::uint64_t kMmio32End = 0xe8000000;
inline constexpr std::uint64_t kEcam = 0xe8000000;   ///< PCI ECAM, one segment after the other
inline constexpr std::uint64_t kEcamSize = 1 * MiB;  ///< of a segment: bus 0 only
inline constexpr std::uint16_t kMaxPciSegments = 16;
inline constexpr std::uint64_t kEcamEnd = kEcam + kMaxPciSegments * kEcamSize;
/// Each of `segments` PCI segments has such a part of a window for BARs, one after the other.
constexpr std::uint64_t segment_share(std::uint64_t window, std::uint16_t segments) {
    return align_down(window / segments, MiB);
}
inline constexpr std::uint64_t kIoApic = 0xfec00000;
inline constexpr std::uint64_t kLocalApic = 0xfee00000;
inline constexpr std::uint64_t kIdentityMap = 0xfeffc000;  ///< KVM_SET_IDENTITY_MAP_ADDR, 1 page
inline constexpr std::uint64_t kTss = 0xfeffd000;          ///< KVM_SET_TSS_ADDR, 3 pages
inline constexpr std::uint64_t kHighRam = 4 * GiB;
/// What memory grows and shrinks by, at least: Linux's memory blocks.
inline constexpr std::uint64_t kMemoryUnit = 128 * MiB;
/// Where memory grows, for a guest that starts with `size` bytes.
constexpr std::uint64_t memory_room(std::uint64_t size) {
    return size <= kRamHole ? kHighRam : align_up(kHighRam + (size - kRamHole), GiB);
}
/// 64-bit PCI BARs lie above RAM, from here or from the end of RAM rounded up to 1 GiB, whichever is higher.
inline constexpr std::uint64_t kMmio64Min = 64 * GiB;
inline constexpr std::uint64_t kMmio64Size = 64 * GiB;
/// Where the window for 64-bit BARs starts, for a guest whose RAM ends at `ram_end`.
constexpr std::uint64_t mmio64_base(std::uint64_t ram_end) {
    const std::uint64_t above_ram = align_up(ram_end, GiB);
    return above_ram > kMmio64Min ? above_ram : kMmio64Min;
}

// Port I/O.
inline constexpr std::uint16_t kPortRtc = 0x70;
inline constexpr std::uint16_t kPortI8042 = 0x60;
inline constexpr std::uint16_t kPortSerial = 0x3f8;
inline constexpr std::uint16_t kPortPvpanic = 0x505;
inline constexpr std::uint16_t kPortPm = 0x600;  ///< ACPI sleep control and status, reset, GED event register
inline constexpr std::uint16_t kPortReset = kPortPm + 2;
inline constexpr std::uint16_t kPortPciHotplug = 0x610;
inline constexpr std::uint16_t kPortCpuHotplug = 0x700;     ///< devices/acpi/cpu_hotplug.h
inline constexpr std::uint16_t kPortMemoryHotplug = 0x800;  ///< devices/acpi/memory_hotplug.h
inline constexpr std::uint16_t kPortPciAddress = 0xcf8;
inline constexpr std::uint16_t kPortPciHotplugMore = 0xd00;  ///< of segments 1 and up, 16 ports each
constexpr std::uint16_t pci_hotplug_port(std::uint16_t segment) {
    return segment == 0 ? kPortPciHotplug
                        : static_cast<std::uint16_t>(kPortPciHotplugMore + 16 * (segment - 1));
}
inline constexpr std::uint16_t kPortPciData = 0xcfc;
inline constexpr std::uint16_t kPortPciBar = 0x1000;  ///< PCI I/O BARs would start here; hako gives out none

// Global system interrupts: IOAPIC pins 0 to 23; MSI routes come after.
inline constexpr std::uint32_t kIrqSerial = 4;
inline constexpr std::uint32_t kIrqGed = 5;
inline constexpr std::uint32_t kIrqRtc = 8;
inline constexpr std::uint32_t kIoApicPins = 24;

}  // namespace hako::layout
