// Ports, processors, and each way a VM can end.
#include "tests.h"

extern "C" const std::uint8_t ap_trampoline[];
extern "C" const std::uint8_t ap_trampoline_end[];

namespace guest {

void test_ports() {
    CHECK(in8(0x1f0) == 0xff);  // nothing there
    CHECK(in16(0x1f0) == 0xffff);
    CHECK(in32(0x1f0) == 0xffffffff);

    out8(0x3f8 + 7, 0x5a);  // the UART's scratch register
    CHECK(in8(0x3f8 + 7) == 0x5a);

    const char* text = "string output\n";
    std::size_t length = 14;
    asm volatile("rep outsb" : "+S"(text), "+c"(length) : "d"(std::uint16_t{0x3f8}));

    out8(0x70, 0x0d);  // RTC register D: valid RAM and time
    CHECK((in8(0x71) & 0x80) != 0);

    CHECK(mmio_read<std::uint32_t>(0xd0000000) == 0xffffffff);  // no device there
}

void test_smp() {
    // For a VM of four processors: wakes the other three (INIT, SIPI to "all but self") and counts them in.
    enable_apic();
    volatile std::uint16_t& counter = *reinterpret_cast<volatile std::uint16_t*>(0x7ff0);
    counter = 0;
    memcpy(reinterpret_cast<void*>(0x8000), ap_trampoline,
           static_cast<std::size_t>(ap_trampoline_end - ap_trampoline));
    constexpr std::uint32_t kIcr = 0x830;
    write_msr(kIcr, 0xc4500);  // INIT, assert, all excluding self
    write_msr(kIcr, 0xc4608);  // SIPI at 0x8000
    // The time limit of whoever runs the guest ends this wait if they never come.
    while (counter < 3)
        asm volatile("pause");
    CHECK(counter == 3);
}

void test_reset() {
    out8(0x602, 1);
    halt();
}

void test_panic() {
    out8(0x505, 1);
    halt();
}

/// As a kernel with a crash kernel: it says so, here more than once, and goes on.
void test_crash_kernel() {
    out8(0x505, 2);
    out8(0x505, 2);
    print("in the crash kernel\n");
    out8(0x505, 3);
    halt();
}

void test_triple_fault() {
    struct [[gnu::packed]] {
        std::uint16_t limit = 0;
        std::uint64_t base = 0;
    } no_idt;
    asm volatile("lidt %0; ud2" ::"m"(no_idt));
}

void test_kvm_error() {
    // Instructions cannot be fetched from where no memory is.
    reinterpret_cast<void (*)()>(0xd0000000)();
}

void test_wait() {
    // Tells that it runs, then waits for the host to press the power button or to lose patience.
    print("waiting\n");
    for (;;) {
        if ((in8(0x603) & 1) != 0) return;
    }
}

void test_generation() {
    // Waits until the event device's interrupt says that the VM generation ID has changed.
    constexpr std::uint64_t kIoApic = 0xfec00000;
    constexpr std::uint64_t kId = 0xfe008;
    constexpr std::uint8_t kVector = 0x50;
    constexpr std::uint32_t kGedPin = 5;
    enable_apic();
    mmio_write<std::uint32_t>(kIoApic, 0x10 + 2 * kGedPin);
    mmio_write<std::uint32_t>(kIoApic + 0x10, kVector);  // edge, not masked, to local APIC 0
    CHECK(in8(0x603) == 0);
    const auto low = mmio_read<std::uint64_t>(kId);
    const auto high = mmio_read<std::uint64_t>(kId + 8);
    print("generation ");
    print_hex(high);
    print_hex(low);
    print("\n");
    while (!arrived(kVector))
        asm volatile("pause");
    CHECK(in8(0x603) == 1u << 3);
    CHECK(mmio_read<std::uint64_t>(kId) != low);
    CHECK(mmio_read<std::uint64_t>(kId + 8) != high);
    print("changed ");
    print_hex(mmio_read<std::uint64_t>(kId + 8));
    print_hex(mmio_read<std::uint64_t>(kId));
    print("\n");
}

void test_deaf() {
    print("deaf\n");
    halt();
}

}  // namespace guest
