// The ACPI tables of a hako guest: hardware-reduced ACPI 6.3. (ACPI 6.3, 5.2; PCI Firmware 3.2, 4.1.2)
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::acpi {

/// What the machine is made of. The addresses of its parts are those of vmm/memory/layout.h.
struct AcpiConfig {
    std::uint32_t vcpus = 1;      ///< there from the start, 1 to kMaxVcpus; APIC id == ACPI processor UID ==
                                  ///< vCPU index
    std::uint32_t max_vcpus = 0;  ///< with those that may come; CPUs come and go if it is 2 or more
    bool memory_hotplug = false;  ///< memory comes and goes
    std::uint16_t pci_segments = 1;  ///< 1 to layout::kMaxPciSegments
    GuestAddress ram_end;            ///< GuestMemory::end()
    bool serial = true;              ///< COM1
    bool rtc = true;                 ///< CMOS RTC at ports 0x70 and 0x71
    bool rtc_interrupt = false;      ///< its alarm interrupt works (layout::kIrqRtc)
    /// A keyboard controller worth probing: one that only resets the machine is better not declared, and
    /// works.
    bool i8042 = false;
    bool pvpanic = true;  ///< panic notification at layout::kPortPvpanic
};

/// SLP_TYP that the guest writes to enter S5 (soft off); in SLEEP_CONTROL_REG it stands in bits 2 to 4,
/// beside SLP_EN, bit 5 (ACPI 6.3, 4.8.3.7).
inline constexpr std::uint8_t kSleepTypeS5 = 5;
/// What the guest writes to RESET_REG (layout::kPortReset) to reset the machine.
inline constexpr std::uint8_t kResetValue = 1;
/// Bits of the event register (layout::kPortPm + 3), which the guest reads and so clears when layout::kIrqGed
/// fires.
inline constexpr std::uint8_t kEventPowerButton = 1 << 0;
inline constexpr std::uint8_t kEventPciSlots = 1 << 1;    ///< then the registers at layout::kPortPciHotplug
inline constexpr std::uint8_t kEventPciBus = 1 << 2;      ///< functions have vanished
inline constexpr std::uint8_t kEventGeneration = 1 << 3;  ///< the VM generation ID has changed
inline constexpr std::uint8_t kEventMemory = 1 << 5;      ///< then those at layout::kPortMemoryHotplug
inline constexpr std::uint8_t kEventCpus = 1 << 4;        ///< then the registers at layout::kPortCpuHotplug

struct AcpiTable {
    std::string name;  ///< "RSDP", "XSDT", "FACP", "APIC", "MCFG", "DSDT"
    GuestAddress address;
    std::vector<std::byte> bytes;
};

/// All tables with their addresses in [layout::kAcpi, layout::kAcpiEnd), RSDP first, at layout::kAcpi.
/// Pure.
Result<std::vector<AcpiTable>> build_tables(const AcpiConfig& config);

/// Builds them and puts them into guest memory; the RSDP's address.
Result<GuestAddress> write_tables(GuestMemory& memory, const AcpiConfig& config);

/// Writes each table to DIRECTORY/<name>.dat, where `iasl -d` reads it. The directory exists.
Result<> dump_tables(const std::vector<AcpiTable>& tables, const std::string& directory);

}  // namespace hako::acpi
