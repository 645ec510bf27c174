#include "vmm/boot/reset_vector.h"

#include <array>

#include "vmm/boot/acpi/tables.h"
#include "vmm/memory/layout.h"

namespace hako::boot {

Result<> write_reset_vector(GuestMemory& memory) {
    constexpr std::uint16_t kPort = layout::kPortReset;
    constexpr std::array<std::uint8_t, 9> kCode = {
        0xba,       kPort & 0xff,
        kPort >> 8,                     // mov dx, kPort
        0xb0,       acpi::kResetValue,  // mov al, kResetValue
        0xee,                           // out dx, al
        0xf4,                           // hlt
        0xeb,       0xfd,               // jmp to the hlt
    };
    if (!memory.write(GuestAddress{layout::kResetVector}, std::as_bytes(std::span(kCode))))
        return fail_input("the guest needs at least 1 MiB of RAM: give it more (--memory)");
    return {};
}

}  // namespace hako::boot
