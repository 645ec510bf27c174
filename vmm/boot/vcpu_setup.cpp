#include "vmm/boot/vcpu_setup.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "vmm/memory/layout.h"

namespace hako::boot {
namespace {

// Segment descriptors (Intel SDM vol. 3A, 3.4.5), by index in the table; a selector is 8 times the index.
constexpr std::uint64_t kFlatCode32 = 0x00cf9b000000ffff;
constexpr std::uint64_t kFlatCode64 = 0x00af9b000000ffff;
constexpr std::uint64_t kFlatData = 0x00cf93000000ffff;
constexpr std::uint64_t kBusyTss = 0x00008b0000000067;  // base 0, limit 0x67; in 64-bit mode 16 bytes long

// Linux asks for 0x10 and 0x18 (boot.rst: __BOOT_CS, __BOOT_DS); the PVH code segment takes a free place.
constexpr std::uint16_t kCode32Selector = 0x08;
constexpr std::uint16_t kCode64Selector = 0x10;
constexpr std::uint16_t kDataSelector = 0x18;
constexpr std::uint16_t kTssSelector = 0x20;
constexpr std::array<std::uint64_t, 6> kGdt = {0, kFlatCode32, kFlatCode64, kFlatData, kBusyTss, 0};
static_assert(layout::kGdt + sizeof(kGdt) <= layout::kPvhInfo);

constexpr std::uint64_t kCr0Pe = 1u << 0;
constexpr std::uint64_t kCr0Et = 1u << 4;
constexpr std::uint64_t kCr0Ne = 1u << 5;
constexpr std::uint64_t kCr0Pg = 1u << 31;
constexpr std::uint64_t kCr4Pae = 1u << 5;
constexpr std::uint64_t kEferLme = 1u << 8;
constexpr std::uint64_t kEferLma = 1u << 10;
constexpr std::uint64_t kRflagsReserved = 1u << 1;  // always 1

constexpr std::uint64_t kPagePresent = 1u << 0;
constexpr std::uint64_t kPageWritable = 1u << 1;
constexpr std::uint64_t kPageLarge = 1u << 7;
constexpr std::size_t kEntries = 512;    // of a page table
constexpr std::size_t kDirectories = 4;  // of 1 GiB each
constexpr std::uint64_t kPdpt = layout::kPageTables + kPageSize;
constexpr std::uint64_t kFirstDirectory = layout::kPageTables + 2 * kPageSize;
static_assert(kFirstDirectory + kDirectories * kPageSize <= layout::kCommandLine);

// Local APIC registers (SDM vol. 3A, 11.4.1) and delivery modes (11.5.1).
constexpr std::size_t kLvtLint0 = 0x350;
constexpr std::size_t kLvtLint1 = 0x360;
constexpr std::uint32_t kLvtModeMask = 7u << 8;
constexpr std::uint32_t kLvtMasked = 1u << 16;
constexpr std::uint32_t kLvtNmi = 4u << 8;
constexpr std::uint32_t kLvtExtInt = 7u << 8;

/// The hidden part of a segment register after loading `selector` from the table above.
kvm_segment segment(std::uint16_t selector) {
    const std::uint64_t descriptor = kGdt[selector / 8];
    const auto bits = [descriptor](unsigned first, unsigned count) {
        return static_cast<std::uint8_t>((descriptor >> first) & ((1u << count) - 1));
    };
    const std::uint64_t limit = (descriptor & 0xffff) | ((descriptor >> 32) & 0xf0000);
    const std::uint64_t base = ((descriptor >> 16) & 0xffffff) | ((descriptor >> 32) & 0xff000000);
    kvm_segment result{};
    result.base = base;
    result.g = bits(55, 1);
    result.limit = static_cast<std::uint32_t>(result.g != 0 ? (limit << 12) | 0xfff : limit);
    result.selector = selector;
    result.type = bits(40, 4);
    result.s = bits(44, 1);
    result.dpl = bits(45, 2);
    result.present = bits(47, 1);
    result.avl = bits(52, 1);
    result.l = bits(53, 1);
    result.db = bits(54, 1);
    return result;
}

void set_lvt(kvm_lapic_state& lapic, std::size_t offset, std::uint32_t mode) {
    std::uint32_t value = 0;
    std::memcpy(&value, lapic.regs + offset, sizeof(value));
    value = (value & ~(kLvtModeMask | kLvtMasked)) | mode;
    std::memcpy(lapic.regs + offset, &value, sizeof(value));
}

}  // namespace

bool write_boot_tables(GuestMemory& memory) {
    std::array<std::uint64_t, kEntries> table{};
    table[0] = kPdpt | kPagePresent | kPageWritable;
    bool done = memory.write(GuestAddress{layout::kGdt}, std::as_bytes(std::span(kGdt))) &&
                memory.write(GuestAddress{layout::kPageTables}, std::as_bytes(std::span(table)));
    for (std::size_t i = 0; i < kDirectories; ++i)
        table[i] = (kFirstDirectory + i * kPageSize) | kPagePresent | kPageWritable;
    done = done && memory.write(GuestAddress{kPdpt}, std::as_bytes(std::span(table)));
    for (std::size_t i = 0; i < kDirectories; ++i) {
        for (std::size_t j = 0; j < kEntries; ++j)
            table[j] = (i * GiB + j * 2 * MiB) | kPagePresent | kPageWritable | kPageLarge;
        done = done &&
               memory.write(GuestAddress{kFirstDirectory + i * kPageSize}, std::as_bytes(std::span(table)));
    }
    return done;
}

void apply(const BootState& state, kvm_regs& regs, kvm_sregs& sregs) {
    const bool long_mode = state.protocol == Protocol::kLinux64;
    regs.rip = state.entry.value;
    regs.rflags = kRflagsReserved;
    regs.rsp = layout::kBootStack;
    (long_mode ? regs.rsi : regs.rbx) = state.argument.value;

    sregs.cs = segment(long_mode ? kCode64Selector : kCode32Selector);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(kDataSelector);
    sregs.tr = segment(kTssSelector);
    sregs.ldt = kvm_segment{};
    sregs.ldt.type = 2;
    sregs.ldt.unusable = 1;
    sregs.gdt.base = layout::kGdt;
    sregs.gdt.limit = sizeof(kGdt) - 1;
    // No IDT: an exception before the kernel has its own ends in a triple fault, which is reported.
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    if (long_mode) {
        sregs.cr0 = kCr0Pe | kCr0Et | kCr0Ne | kCr0Pg;
        sregs.cr3 = layout::kPageTables;
        sregs.cr4 = kCr4Pae;
        sregs.efer = kEferLme | kEferLma;
    } else {
        sregs.cr0 = kCr0Pe | kCr0Et;
        sregs.cr3 = 0;
        sregs.cr4 = 0;
        sregs.efer = 0;
    }
}

void set_local_interrupts(kvm_lapic_state& lapic) {
    set_lvt(lapic, kLvtLint0, kLvtExtInt);
    set_lvt(lapic, kLvtLint1, kLvtNmi);
}

Result<> set_up_local_apic(kvm::Vcpu& vcpu) {
    kvm_lapic_state lapic = HAKO_TRY(vcpu.lapic());
    set_local_interrupts(lapic);
    return vcpu.set_lapic(lapic);
}

Result<> start_boot_vcpu(kvm::Vcpu& vcpu, GuestMemory& memory, const BootState& state) {
    if (!write_boot_tables(memory)) return fail_input("the boot tables do not fit into RAM");
    kvm_regs regs = HAKO_TRY(vcpu.regs());
    kvm_sregs sregs = HAKO_TRY(vcpu.sregs());
    apply(state, regs, sregs);
    // Segments and mode first: KVM checks RIP and RFLAGS against them on some hosts.
    HAKO_TRY(vcpu.set_sregs(sregs));
    return vcpu.set_regs(regs);
}

}  // namespace hako::boot
