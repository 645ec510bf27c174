// What the bare-metal test guest has instead of an operating system.
#pragma once

#include <cstddef>
#include <cstdint>

// The compiler may call these; there is no C library.
extern "C" void* memcpy(void* to, const void* from, std::size_t size);
extern "C" void* memset(void* to, int value, std::size_t size);

namespace guest {

// Ports and MMIO.
inline void out8(std::uint16_t port, std::uint8_t value) {
    asm volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
inline void out32(std::uint16_t port, std::uint32_t value) {
    asm volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}
inline std::uint8_t in8(std::uint16_t port) {
    std::uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
inline std::uint16_t in16(std::uint16_t port) {
    std::uint16_t value;
    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
inline std::uint32_t in32(std::uint16_t port) {
    std::uint32_t value;
    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
template <typename T>
T mmio_read(std::uint64_t address) {
    return *reinterpret_cast<volatile T*>(address);
}
template <typename T>
void mmio_write(std::uint64_t address, T value) {
    *reinterpret_cast<volatile T*>(address) = value;
}
/// What a port reads at which there is no device.
constexpr std::uint32_t kNothing = 0xffffffff;
inline std::uint64_t read_msr(std::uint32_t index) {
    std::uint32_t low;
    std::uint32_t high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (std::uint64_t{high} << 32) | low;
}
inline void write_msr(std::uint32_t index, std::uint64_t value) {
    asm volatile("wrmsr" ::"c"(index), "a"(static_cast<std::uint32_t>(value)),
                 "d"(static_cast<std::uint32_t>(value >> 32)));
}
inline std::uint64_t tsc() {
    std::uint32_t low;
    std::uint32_t high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return std::uint64_t{high} << 32 | low;
}

/// Maps the 2 MiB page around `address` (below 512 GiB) to itself, for BARs above 4 GiB.
void map(std::uint64_t address);

// Console and end.
void print(const char* text);
void print_hex(std::uint64_t value);
/// Prints the failed check and ends the VM as a panicked guest (pvpanic): hako's exit code 4.
[[noreturn]] void fail(const char* check, const char* file, int line);
/// ACPI S5: hako's exit code 0.
[[noreturn]] void power_off();
[[noreturn]] void halt();

// Local APIC in x2APIC mode. Interrupts stay disabled: a vector that arrived is seen in the IRR, so no IDT,
// no iretq, and it runs where ring 0 is emulated.
void enable_apic();
bool arrived(std::uint8_t vector);

// PCI. Slots are counted over all segments, 32 in each.
inline constexpr std::uint16_t kPciSegments = 2;
std::uint32_t pci_read32(std::uint16_t slot, std::uint16_t offset);  ///< through ECAM
void pci_write32(std::uint16_t slot, std::uint16_t offset, std::uint32_t value);
std::uint32_t pci_port_read32(std::uint16_t slot,
                              std::uint16_t offset);  ///< through 0xcf8 and 0xcfc; segment 0
/// The slot of the `nth` function with this vendor and device id, or -1. Where there is one segment the
/// second one's slots read as empty.
int pci_find(std::uint16_t vendor, std::uint16_t device, int nth = 0);

// Tests, chosen by `test=NAME` on the command line.
struct Test {
    const char* name;
    void (*run)();
};

}  // namespace guest

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) ::guest::fail(#condition, __FILE_NAME__, __LINE__); \
    } while (false)
