#include "guest.h"

extern "C" void* memcpy(void* to, const void* from, std::size_t size) {
    void* const start = to;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size)::"memory");
    return start;
}
extern "C" void* memset(void* to, int value, std::size_t size) {
    void* const start = to;
    asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
    return start;
}

extern "C" std::uint64_t pdpt[512];

namespace guest {
namespace {

constexpr std::uint16_t kSerial = 0x3f8;
constexpr std::uint16_t kPvpanic = 0x505;
constexpr std::uint16_t kSleepControl = 0x600;
constexpr std::uint64_t kEcam = 0xe8000000;

alignas(4096) std::uint64_t extra_directories[4][512];
std::size_t extra_used = 0;

/// In ECAM: a MiB for each segment, 32 KiB for each slot.
std::uint64_t function_address(std::uint16_t slot) {
    return kEcam + (std::uint64_t{slot} / 32 << 20) + (std::uint64_t{slot} % 32 << 15);
}

}  // namespace

void map(std::uint64_t address) {
    const std::uint64_t gib = address >> 30;
    if (gib >= 512) fail("address below 512 GiB", __FILE_NAME__, __LINE__);
    if ((pdpt[gib] & 1) == 0) {
        CHECK(extra_used < 4);
        pdpt[gib] = reinterpret_cast<std::uint64_t>(extra_directories[extra_used++]) | 3;
    }
    auto* directory = reinterpret_cast<std::uint64_t*>(pdpt[gib] & ~std::uint64_t{0xfff});
    directory[(address >> 21) & 511] = (address & ~std::uint64_t{0x1fffff}) | 0x83;
    asm volatile("invlpg (%0)" ::"r"(address) : "memory");
}

void print(const char* text) {
    for (; *text != 0; ++text)
        out8(kSerial, static_cast<std::uint8_t>(*text));
}

void print_hex(std::uint64_t value) {
    print("0x");
    for (int shift = 60; shift >= 0; shift -= 4)
        out8(kSerial, static_cast<std::uint8_t>("0123456789abcdef"[(value >> shift) & 15]));
}

void halt() {
    for (;;)
        asm volatile("cli; hlt");
}

void fail(const char* check, const char* file, int line) {
    print("FAIL: ");
    print(check);
    print(" at ");
    print(file);
    print(":");
    print_hex(static_cast<std::uint64_t>(line));
    print("\n");
    out8(kPvpanic, 1);
    halt();
}

void power_off() {
    out8(kSleepControl, (5 << 2) | 0x20);
    halt();
}

void enable_apic() {
    constexpr std::uint32_t kApicBase = 0x1b;
    constexpr std::uint32_t kSpurious = 0x80f;
    write_msr(kApicBase, read_msr(kApicBase) | 0xc00);  // enable, x2APIC
    write_msr(kSpurious, 0x1ff);                        // software enable, vector 0xff
}

bool arrived(std::uint8_t vector) {
    constexpr std::uint32_t kIrr = 0x820;
    return ((read_msr(kIrr + vector / 32) >> (vector % 32)) & 1) != 0;
}

std::uint32_t pci_read32(std::uint16_t slot, std::uint16_t offset) {
    return mmio_read<std::uint32_t>(function_address(slot) + offset);
}

void pci_write32(std::uint16_t slot, std::uint16_t offset, std::uint32_t value) {
    mmio_write<std::uint32_t>(function_address(slot) + offset, value);
}

std::uint32_t pci_port_read32(std::uint16_t slot, std::uint16_t offset) {
    out32(0xcf8, 0x80000000u | (std::uint32_t{slot} << 11) | (offset & 0xfcu));
    return in32(0xcfc);
}

int pci_find(std::uint16_t vendor, std::uint16_t device, int nth) {
    for (std::uint16_t slot = 0; slot < 32 * kPciSegments; ++slot) {
        if (pci_read32(slot, 0) != (std::uint32_t{device} << 16 | vendor)) continue;
        if (nth-- == 0) return slot;
    }
    return -1;
}

}  // namespace guest
