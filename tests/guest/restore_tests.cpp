// What must not notice that its machine was saved and built again: registers, time, timers, a disk at work.
#include "mailbox.h"
#include "tests.h"
#include "virtio.h"

extern "C" const std::uint8_t ap_trampoline[];
extern "C" const std::uint8_t ap_trampoline_end[];
extern "C" std::uint32_t pae_rounds();

namespace guest {
namespace {

constexpr std::uint8_t kFirstTimer = 0x70;  // one vector for each time: interrupts stay pending for ever
constexpr std::uint8_t kLastTimer = 0xef;
constexpr std::uint32_t kReads = 4;
constexpr std::uint32_t kSectors = 64;

alignas(4096) Rings rings;
alignas(4096) std::uint8_t buffer[kReads][512];
constinit BlockQueue queue(rings);

bool has_feature(unsigned bit) {  // of CPUID leaf 1, ECX
    std::uint32_t eax = 1;
    std::uint32_t ebx;
    std::uint32_t ecx = 0;
    std::uint32_t edx;
    asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return (ecx >> bit & 1) != 0;
}
constexpr unsigned kPcidFeature = 17;
constexpr unsigned kTscDeadlineFeature = 24;

// SSE registers, which the compiler is told not to use.

struct alignas(16) Xmm {
    std::uint64_t low;
    std::uint64_t high;
};
constexpr Xmm kXmm0{0x0123456789abcdef, 0xfedcba9876543210};
constexpr Xmm kXmm7{0x7777777777777777, 0x1122334455667788};

void set_sse() {
    std::uint64_t cr0;
    std::uint64_t cr4;
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    asm volatile("mov %0, %%cr0" ::"r"((cr0 & ~std::uint64_t{4}) | 2));  // EM off, MP on
    asm volatile("mov %0, %%cr4" ::"r"(cr4 | 0x600));                    // OSFXSR, OSXMMEXCPT
    asm volatile("movdqu %0, %%xmm0; movdqu %1, %%xmm7" ::"m"(kXmm0), "m"(kXmm7));
}

void check_sse() {
    Xmm xmm0{};
    Xmm xmm7{};
    asm volatile("movdqu %%xmm0, %0; movdqu %%xmm7, %1" : "=m"(xmm0), "=m"(xmm7));
    CHECK(xmm0.low == kXmm0.low && xmm0.high == kXmm0.high);
    CHECK(xmm7.low == kXmm7.low && xmm7.high == kXmm7.high);
}

// A kernel that comes back to a process sets them anew, so only here it shows that they are lost.

constexpr std::uint64_t kDr7 = 0x400 | 1 << 6;  // L3, on execution: nothing is executed there

void set_debug_registers() {
    asm volatile("mov %0, %%db0; mov %1, %%db3" ::"r"(std::uint64_t{0x1000}), "r"(std::uint64_t{0x3000}));
    asm volatile("mov %0, %%db7" ::"r"(kDr7));
}

void check_debug_registers() {
    std::uint64_t db0;
    std::uint64_t db3;
    std::uint64_t db7;
    asm volatile("mov %%db0, %0; mov %%db3, %1; mov %%db7, %2" : "=r"(db0), "=r"(db3), "=r"(db7));
    CHECK(db0 == 0x1000 && db3 == 0x3000 && db7 == kDr7);
}

// Page tables with an address-space number, on processors that have them: CR4 and the low bits of CR3.

constexpr std::uint64_t kPcide = 1 << 17;
constexpr std::uint64_t kPcid = 5;

void set_pcid() {
    if (!has_feature(kPcidFeature)) return;
    std::uint64_t cr3;
    std::uint64_t cr4;
    asm volatile("mov %%cr3, %0; mov %%cr4, %1" : "=r"(cr3), "=r"(cr4));
    asm volatile("mov %0, %%cr4" ::"r"(cr4 | kPcide));
    asm volatile("mov %0, %%cr3" ::"r"(cr3 | kPcid) : "memory");
}

void check_pcid() {
    if (!has_feature(kPcidFeature)) return;
    std::uint64_t cr3;
    std::uint64_t cr4;
    asm volatile("mov %%cr3, %0; mov %%cr4, %1" : "=r"(cr3), "=r"(cr4));
    CHECK((cr3 & 0xfff) == kPcid && (cr4 & kPcide) != 0);
}

/// One-shot timers, one after the other, by turns counted by the local APIC and by the TSC.
class Timers {
  public:
    void arm() {
        if (vector_ > kLastTimer) return;
        constexpr std::uint32_t kLvtTimer = 0x832;
        constexpr std::uint32_t kInitialCount = 0x838;
        constexpr std::uint32_t kDivide = 0x83e;
        constexpr std::uint32_t kTscDeadlineMsr = 0x6e0;
        if (deadline_ && vector_ % 2 == 1) {
            write_msr(kLvtTimer, vector_ | 2u << 17);
            write_msr(kTscDeadlineMsr, tsc() + 50'000'000);
        } else {
            write_msr(kDivide, 0xb);
            write_msr(kLvtTimer, vector_);
            write_msr(kInitialCount, 20'000'000);
        }
    }
    void look() {
        if (vector_ > kLastTimer || !arrived(vector_)) return;
        ++vector_;
        mailbox().timers = mailbox().timers + 1;
        arm();
    }
    void wait() {
        if (vector_ > kLastTimer) return;
        while (!arrived(vector_))
            asm volatile("pause");
    }

  private:
    std::uint8_t vector_ = kFirstTimer;
    const bool deadline_ = has_feature(kTscDeadlineFeature);
};

void read_disk(VirtioPci& disk, std::uint64_t round) {
    for (std::uint32_t i = 0; i < kReads; ++i) {
        buffer[i][0] = 0;
        queue.submit(i, BlockQueue::kIn, (round * kReads + i) % kSectors, buffer[i], 512);
    }
    disk.notify();
    queue.wait(kReads);
    for (std::uint32_t i = 0; i < kReads; ++i) {
        CHECK(queue.status_of(i) == 0);
        CHECK(buffer[i][0] == sector_mark((round * kReads + i) % kSectors));
    }
}

/// Starts the other processor, which has waited for it in one machine after the other.
void start_other_cpu() {
    volatile std::uint16_t& counter = *reinterpret_cast<volatile std::uint16_t*>(0x7ff0);
    counter = 0;
    memcpy(reinterpret_cast<void*>(0x8000), ap_trampoline,
           static_cast<std::size_t>(ap_trampoline_end - ap_trampoline));
    constexpr std::uint32_t kIcr = 0x830;
    write_msr(kIcr, 0xc4500);  // INIT, assert, all excluding self
    write_msr(kIcr, 0xc4608);  // SIPI at 0x8000
    while (counter < 1)
        asm volatile("pause");
}

}  // namespace

void test_restore() {
    set_sse();
    set_debug_registers();
    set_pcid();
    VirtioPci disk = start_disk(rings);

    Timers timers;
    timers.arm();
    std::uint64_t last = tsc();
    for (std::uint64_t round = 0; mailbox().stop == 0; ++round) {
        const std::uint64_t now = tsc();
        CHECK(now >= last);
        last = now;
        check_sse();
        check_debug_registers();
        check_pcid();
        read_disk(disk, round);
        timers.look();
        mailbox().rounds = round + 1;
    }
    timers.wait();
    if (mailbox().stop > 1) start_other_cpu();
}

void test_restore_pae() {
    CHECK(pae_rounds() == 0);
}

}  // namespace guest
