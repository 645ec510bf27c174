#include "vmm/boot/acpi/local_apic.h"

namespace hako::acpi {

Bytes local_apic(std::uint32_t id, std::uint32_t flags) {
    constexpr std::uint8_t kLocalApicType = 0;
    constexpr std::uint8_t kX2ApicType = 9;
    Bytes result;
    if (id < kFirstX2Apic) {
        append(result, kLocalApicType, 1);
        append(result, 8, 1);
        append(result, id, 1);  // processor UID
        append(result, id, 1);  // APIC id
        append(result, flags, 4);
    } else {
        append(result, kX2ApicType, 1);
        append(result, 16, 1);
        append(result, 0, 2);
        append(result, id, 4);  // x2APIC id
        append(result, flags, 4);
        append(result, id, 4);  // processor UID
    }
    return result;
}

}  // namespace hako::acpi
