#include "vmm/boot/vcpu_setup.h"

#include <doctest/doctest.h>

#include <cstring>
#include <optional>

#include "vmm/memory/layout.h"

using namespace hako;

namespace {

/// What a guest's MMU makes of `address`, by the page tables at CR3 (SDM vol. 3A, 4.5).
std::optional<std::uint64_t> translate(const GuestMemory& memory, std::uint64_t cr3, std::uint64_t address) {
    std::uint64_t table = cr3;
    for (const unsigned shift : {39u, 30u, 21u}) {
        const auto entry = memory.load<std::uint64_t>(GuestAddress{table + (address >> shift & 511) * 8});
        if (!entry || (*entry & 1) == 0) return std::nullopt;
        if (shift == 21)
            return (*entry & 0x80) != 0 ? std::optional((*entry & ~0x1fffffull) | (address & 0x1fffff))
                                        : std::nullopt;
        table = *entry & ~0xfffull;
    }
    return std::nullopt;
}

constexpr boot::BootState kLinux{boot::Protocol::kLinux64, GuestAddress{16 * MiB + 0x200},
                                 GuestAddress{0x7000}};
constexpr boot::BootState kPvh{boot::Protocol::kPvh, GuestAddress{16 * MiB}, GuestAddress{0x6000}};

}  // namespace

TEST_CASE("a Linux kernel starts in long mode with boot_params in RSI") {
    kvm_regs regs{};
    kvm_sregs sregs{};
    boot::apply(kLinux, regs, sregs);
    CHECK(regs.rip == kLinux.entry.value);
    CHECK(regs.rsi == kLinux.argument.value);
    CHECK((regs.rflags & (1u << 9)) == 0);  // interrupts off
    CHECK((sregs.cr0 & 0x80000001) == 0x80000001);
    CHECK((sregs.cr4 & 0x20) != 0);
    CHECK(sregs.efer == 0x500);
    CHECK(sregs.cs.selector == 0x10);
    CHECK(sregs.cs.l == 1);
    CHECK(sregs.cs.db == 0);
    CHECK(sregs.cs.type == 0xb);
    CHECK(sregs.ss.selector == 0x18);
    CHECK(sregs.ds.selector == 0x18);
    CHECK(sregs.es.type == 3);
    CHECK(sregs.ds.present == 1);
    CHECK(sregs.tr.type == 0xb);  // busy TSS: VM entry wants one
    CHECK(sregs.tr.s == 0);
}

TEST_CASE("a PVH kernel starts in protected mode without paging and with start info in EBX") {
    kvm_regs regs{};
    kvm_sregs sregs{};
    boot::apply(kPvh, regs, sregs);
    CHECK(regs.rip == kPvh.entry.value);
    CHECK(regs.rbx == kPvh.argument.value);
    CHECK((regs.rflags & (1u << 9 | 1u << 17 | 1u << 8)) == 0);
    CHECK((sregs.cr0 & 0x80000001) == 1);
    CHECK(sregs.cr4 == 0);
    CHECK(sregs.efer == 0);
    CHECK(sregs.cs.db == 1);
    CHECK(sregs.cs.l == 0);
    for (const kvm_segment* segment : {&sregs.cs, &sregs.ds, &sregs.es, &sregs.ss}) {
        CHECK(segment->base == 0);
        CHECK(segment->limit == 0xffffffff);
        CHECK(segment->present == 1);
        CHECK(segment->s == 1);
    }
    CHECK(sregs.tr.limit == 0x67);
    CHECK(sregs.tr.base == 0);
}

TEST_CASE("the first 4 GiB are mapped one to one, and nothing else") {
    auto memory = GuestMemory::create({.size = 2 * MiB, .thp = false});
    REQUIRE(memory);
    REQUIRE(boot::write_boot_tables(*memory));
    kvm_regs regs{};
    kvm_sregs sregs{};
    boot::apply(kLinux, regs, sregs);
    for (const std::uint64_t address :
         {std::uint64_t{0}, 1 * MiB + 5, 16 * MiB + 0x200, 1 * GiB - 1, 3 * GiB, 4 * GiB - 1}) {
        CAPTURE(address);
        CHECK(translate(*memory, sregs.cr3, address) == address);
    }
    CHECK_FALSE(translate(*memory, sregs.cr3, 4 * GiB));
    CHECK_FALSE(translate(*memory, sregs.cr3, 512 * GiB));
}

TEST_CASE("the GDT in memory holds what the segment registers say") {
    auto memory = GuestMemory::create({.size = 2 * MiB, .thp = false});
    REQUIRE(memory);
    REQUIRE(boot::write_boot_tables(*memory));
    for (const boot::BootState& state : {kLinux, kPvh}) {
        kvm_regs regs{};
        kvm_sregs sregs{};
        boot::apply(state, regs, sregs);
        for (const kvm_segment* segment : {&sregs.cs, &sregs.ds, &sregs.ss, &sregs.tr}) {
            CAPTURE(segment->selector);
            REQUIRE(segment->selector + 7u <= sregs.gdt.limit);
            const auto descriptor =
                memory->load<std::uint64_t>(GuestAddress{sregs.gdt.base + segment->selector});
            REQUIRE(descriptor);
            CHECK((*descriptor >> 40 & 0xf) == segment->type);
            CHECK((*descriptor >> 44 & 1) == segment->s);
            CHECK((*descriptor >> 47 & 1) == segment->present);
            CHECK((*descriptor >> 53 & 1) == segment->l);
            CHECK((*descriptor >> 54 & 1) == segment->db);
            CHECK((*descriptor >> 55 & 1) == segment->g);
        }
    }
}

TEST_CASE("LINT0 takes ExtINT and LINT1 NMI, unmasked") {
    kvm_lapic_state lapic{};
    const std::uint32_t masked = 1u << 16;
    std::memcpy(lapic.regs + 0x350, &masked, sizeof(masked));
    std::memcpy(lapic.regs + 0x360, &masked, sizeof(masked));
    boot::set_local_interrupts(lapic);
    std::uint32_t lint0 = 0;
    std::uint32_t lint1 = 0;
    std::memcpy(&lint0, lapic.regs + 0x350, sizeof(lint0));
    std::memcpy(&lint1, lapic.regs + 0x360, sizeof(lint1));
    CHECK(lint0 == 0x700);
    CHECK(lint1 == 0x400);
}
