#include "vmm/machine/cpu_compat.h"

#include <doctest/doctest.h>

#include "vmm/boot/cpuid.h"
#include "vmm/kvm/msr_list.h"

using namespace hako;

namespace {

using Lines = std::vector<std::string>;

kvm_cpuid_entry2 leaf(std::uint32_t function, std::uint32_t index, std::uint32_t eax, std::uint32_t ebx,
                      std::uint32_t ecx, std::uint32_t edx) {
    return {.function = function, .index = index, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx};
}

HostCpu make_host() {
    return {
        .cpuid = {leaf(0, 0, 0xd, 0x68747541, 0x444d4163, 0x69746e65),
                  leaf(1, 0, 0xa20f10, 0, 0x7ed8320b, 0x178bfbff), leaf(6, 0, 4, 0, 0, 0),
                  leaf(7, 0, 1, 0x219c91a9, 0x0040068c, 0xac000010), leaf(7, 1, 0x30, 0, 0, 0),
                  leaf(0xd, 0, 7, 0x340, 0x340, 0), leaf(0xd, 1, 0xf, 0x340, 0, 0),
                  leaf(0xd, 2, 256, 576, 0, 0), leaf(0x40000001, 0, 0x01007efb, 0, 0, 0),
                  leaf(0x80000001, 0, 0, 0, 0x75c237ff, 0x2fd3fbff), leaf(0x80000007, 0, 0, 0, 0, 0x100),
                  leaf(0x80000008, 0, 0x3030, 0x0111d205, 0, 0)},
        .msrs = kvm::select_msrs({0x10, 0x174, 0x10a, 0xc0000082}),
        .tsc_deadline = true,
        .tsc_scaling = false,
        .tsc_khz = 2'000'000,
        .arch_capabilities = 0x2b,
    };
}

kvm::VcpuState make_guest(const HostCpu& host) {
    kvm::VcpuState guest;
    guest.cpuid = boot::guest_cpuid(host.cpuid, 1, {.vcpus = 4, .tsc_deadline = true, .tsc_khz = 2'000'000});
    guest.tsc_khz = 2'000'000;
    guest.msrs = {{0x10a, 0x2b}, {0xc0000082, 0xffffffff81000000}};
    return guest;
}

kvm_cpuid_entry2& find(kvm::VcpuState& guest, std::uint32_t function, std::uint32_t index = 0) {
    for (kvm_cpuid_entry2& entry : guest.cpuid)
        if (entry.function == function && entry.index == index) return entry;
    FAIL("no such leaf");
    return guest.cpuid[0];
}

}  // namespace

TEST_CASE("what a host gave its guest it gives it again, also after the guest switched things on") {
    const HostCpu host = make_host();
    kvm::VcpuState guest = make_guest(host);
    CHECK(cpu_differences(guest, host) == Lines{});
    find(guest, 1).ecx |= 1U << 27;  // OSXSAVE
    find(guest, 7).ecx |= 1U << 4;   // OSPKE
    CHECK(cpu_differences(guest, host) == Lines{});
    // A better CPU will do, too.
    HostCpu better = host;
    for (kvm_cpuid_entry2& entry : better.cpuid)
        if (entry.function == 7 && entry.index == 0) entry.ebx |= 1U << 16;
    CHECK(cpu_differences(guest, better) == Lines{});
}

TEST_CASE("each bit that is missing is named by leaf, subleaf and register") {
    const HostCpu host = make_host();
    kvm::VcpuState guest = make_guest(host);
    find(guest, 7).ebx |= 1U << 16 | 1U << 30;
    CHECK(cpu_differences(guest, host) == Lines{"CPUID leaf 0x7, EBX bit 16", "CPUID leaf 0x7, EBX bit 30"});
    guest = make_guest(host);
    find(guest, 7, 1).eax |= 1U << 23;
    CHECK(cpu_differences(guest, host) == Lines{"CPUID leaf 0x7, subleaf 1, EAX bit 23"});
    guest = make_guest(host);
    find(guest, 0x40000001).eax |= 1U << 31;
    CHECK(cpu_differences(guest, host) == Lines{"CPUID leaf 0x40000001, EAX bit 31"});
}

TEST_CASE("a leaf that the host does not have has no bits") {
    HostCpu host = make_host();
    const kvm::VcpuState guest = make_guest(host);
    std::erase_if(host.cpuid, [](const auto& entry) { return entry.function == 6; });
    CHECK(cpu_differences(guest, host) == Lines{"CPUID leaf 0x6, EAX bit 2"});
}

TEST_CASE("TSC deadline is KVM's to give") {
    HostCpu host = make_host();
    const kvm::VcpuState guest = make_guest(host);
    host.tsc_deadline = false;
    CHECK(cpu_differences(guest, host) == Lines{"CPUID leaf 0x1, ECX bit 24"});
}

TEST_CASE("another maker's CPU, another layout of XSAVE, fewer address bits") {
    HostCpu host = make_host();
    const kvm::VcpuState guest = make_guest(host);
    for (kvm_cpuid_entry2& entry : host.cpuid) {
        if (entry.function == 0) entry.ebx = 0x756e6547;
        if (entry.function == 0xd && entry.index == 2) entry.ebx = 640;
        if (entry.function == 0x80000008) entry.eax = 0x302d;
    }
    CHECK(cpu_differences(guest, host) ==
          Lines{"CPUID leaf 0x0, EBX: the CPU is another maker's",
                "CPUID leaf 0xd, subleaf 2, EBX: 576, here 640",
                "CPUID leaf 0x80000008, EAX: physical addresses of 48 bits, here 45"});
}

TEST_CASE("MSRs without which a guest cannot go on, and immunities it counts on") {
    HostCpu host = make_host();
    kvm::VcpuState guest = make_guest(host);
    find(guest, 7).edx |= 1U << 29;
    for (kvm_cpuid_entry2& entry : host.cpuid)
        if (entry.function == 7 && entry.index == 0) entry.edx |= 1U << 29;
    CHECK(cpu_differences(guest, host) == Lines{});
    std::erase(host.msrs, 0xc0000082);
    host.arch_capabilities = 0x2a;
    CHECK(cpu_differences(guest, host) == Lines{"MSR 0xc0000082, which this host's KVM does not keep",
                                                "MSR 0x10a (IA32_ARCH_CAPABILITIES) bit 0"});
    host.arch_capabilities.reset();
    CHECK(cpu_differences(guest, host).size() == 5);
    // A guest that was not told of the MSR does not count on it, and zeros are no loss.
    find(guest, 7).edx &= ~(1U << 29);
    guest.msrs[1].value = 0;
    CHECK(cpu_differences(guest, host) == Lines{});
}

TEST_CASE("the TSC's rate counts where it cannot be scaled") {
    HostCpu host = make_host();
    kvm::VcpuState guest = make_guest(host);
    guest.tsc_khz = 2'100'000;
    CHECK(cpu_differences(guest, host) ==
          Lines{"the TSC ticks at 2100000 kHz, here at 2000000 kHz, and this host cannot scale it"});
    host.tsc_scaling = true;
    CHECK(cpu_differences(guest, host) == Lines{});
}
