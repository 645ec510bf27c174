// A CPU's entry in the MADT, and in its device's _MAT. (ACPI 6.3, 5.2.12.2 and 5.2.12.12)
#pragma once

#include <cstdint>

#include "vmm/boot/acpi/aml.h"

namespace hako::acpi {

// Local APIC flags (table 5-47).
inline constexpr std::uint32_t kLocalApicEnabled = 1 << 0;
inline constexpr std::uint32_t kLocalApicOnlineCapable = 1 << 1;  ///< not there yet, and may come

/// From here on a CPU has a local x2APIC structure: APIC id 255 is a broadcast.
inline constexpr std::uint32_t kFirstX2Apic = 255;

/// Of the CPU whose APIC id and processor UID `id` is.
Bytes local_apic(std::uint32_t id, std::uint32_t flags);

}  // namespace hako::acpi
