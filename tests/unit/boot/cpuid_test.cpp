#include "vmm/boot/cpuid.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "vmm/boot/msrs.h"

using namespace hako;
using Entry = kvm_cpuid_entry2;

namespace {

constexpr std::uint32_t kAll = ~std::uint32_t{0};

enum class Vendor { kIntel, kAmd };

/// A host that offers everything: each test sees what the policy leaves of it.
std::vector<Entry> host(Vendor vendor) {
    const bool intel = vendor == Vendor::kIntel;
    std::vector<Entry> entries;
    const auto add = [&entries](std::uint32_t function, std::uint32_t index, std::uint32_t eax,
                                std::uint32_t ebx, std::uint32_t ecx, std::uint32_t edx) {
        entries.push_back({.function = function,
                           .index = index,
                           .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                           .eax = eax,
                           .ebx = ebx,
                           .ecx = ecx,
                           .edx = edx});
    };
    if (intel)
        add(0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69);
    else
        add(0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65);
    add(1, 0, 0x00a20f10, 0x07180800, kAll, kAll);
    if (intel) {
        add(4, 0, 0x1c004121, 0, 0, 0);  // L1 data, shared by 2
        add(4, 3, 0x1c03c163, 0, 0, 0);  // L3, shared by 16
        add(4, 4, 0, 0, 0, 0);
    }
    add(5, 0, kAll, kAll, kAll, kAll);
    add(6, 0, kAll, kAll, kAll, kAll);
    add(7, 0, 2, kAll, kAll, kAll);
    add(7, 1, kAll, kAll, kAll, kAll);
    add(0xa, 0, kAll, kAll, kAll, kAll);
    add(0xb, 0, 1, 2, 0x100, 7);
    // x87, SSE, AVX, MPX, AVX-512, PKRU, AMX.
    add(0xd, 0, 0x000602ff, 0x240, 11008, 0);
    add(0xd, 1, kAll, 11008, 0x1900, 0);
    add(0xd, 2, 256, 576, 0, 0);
    add(0xd, 3, 64, 960, 0, 0);
    add(0xd, 4, 64, 1024, 0, 0);
    add(0xd, 5, 64, 1088, 0, 0);
    add(0xd, 6, 512, 1152, 0, 0);
    add(0xd, 7, 1024, 1664, 0, 0);
    add(0xd, 9, 8, 2688, 0, 0);
    add(0xd, 12, 24, 0, 1, 0);
    add(0xd, 17, 64, 2752, 2, 0);
    add(0xd, 18, 8192, 2816, 6, 0);
    add(0x14, 0, kAll, kAll, kAll, kAll);
    if (intel) add(0x1f, 0, 1, 2, 0x100, 7);
    add(0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
    add(0x40000001, 0, kAll, 0, 0, kAll);
    add(0x80000000, 0, 0x80000026, 0, 0, 0);
    add(0x80000001, 0, 0, 0, kAll, kAll);
    add(0x80000008, 0, 0x3030, kAll, kAll, 0);
    add(0x8000000a, 0, kAll, kAll, kAll, kAll);
    if (!intel) {
        add(0x8000001d, 0, 0x00004121, 0, 0, 0);
        add(0x8000001d, 3, 0x0003c163, 0, 0, 0);
        add(0x8000001e, 0, 7, 0x101, 0, 0);
    }
    add(0x80000026, 0, kAll, kAll, kAll, kAll);
    return entries;
}

const Entry& leaf(const std::vector<Entry>& entries, std::uint32_t function, std::uint32_t index = 0) {
    const auto found = std::ranges::find_if(
        entries, [&](const Entry& entry) { return entry.function == function && entry.index == index; });
    REQUIRE_MESSAGE(found != entries.end(), "leaf ", function, " ", index);
    return *found;
}

bool has(const std::vector<Entry>& entries, std::uint32_t function, std::uint32_t index = 0) {
    return std::ranges::any_of(
        entries, [&](const Entry& entry) { return entry.function == function && entry.index == index; });
}

constexpr bool is_set(std::uint32_t value, unsigned bit) {
    return (value >> bit & 1) != 0;
}

}  // namespace

TEST_CASE("each vCPU has its index as APIC id, in every leaf that tells it") {
    for (const std::uint32_t id : {0u, 2u, 63u}) {
        const auto intel = boot::guest_cpuid(host(Vendor::kIntel), id, {.vcpus = 64});
        CHECK((leaf(intel, 1).ebx >> 24) == id);
        for (const std::uint32_t index : {0u, 1u, 2u}) {
            CHECK(leaf(intel, 0xb, index).edx == id);
            CHECK(leaf(intel, 0x1f, index).edx == id);
        }
        const auto amd = boot::guest_cpuid(host(Vendor::kAmd), id, {.vcpus = 64});
        CHECK(leaf(amd, 0x8000001e).eax == id);
        CHECK((leaf(amd, 0x8000001e).ebx & 0xff) == id);
        CHECK((leaf(amd, 0x8000001e).ebx >> 8) == 0);  // one thread a core
        CHECK_FALSE(has(amd, 0x1f));
    }
}

TEST_CASE("all leaves tell of one socket of N cores with one thread each") {
    for (const std::uint32_t count : {1u, 2u, 3u, 4u, 5u, 64u}) {
        CAPTURE(count);
        const auto bits = static_cast<std::uint32_t>(std::bit_width(count - 1));
        const std::uint32_t last = (1u << bits) - 1;
        const auto intel = boot::guest_cpuid(host(Vendor::kIntel), 0, {.vcpus = count});
        CHECK((leaf(intel, 1).ebx >> 16 & 0xff) == count);
        CHECK(is_set(leaf(intel, 1).edx, 28) == (count > 1));
        for (const std::uint32_t function : {0xbu, 0x1fu}) {
            CHECK(leaf(intel, function, 0).eax == 0);
            CHECK(leaf(intel, function, 0).ebx == 1);
            CHECK(leaf(intel, function, 0).ecx == 0x100);
            CHECK(leaf(intel, function, 1).eax == bits);
            CHECK(leaf(intel, function, 1).ebx == count);
            CHECK(leaf(intel, function, 1).ecx == 0x201);
            CHECK(leaf(intel, function, 2).ebx == 0);
            CHECK(leaf(intel, function, 2).ecx == 2);
        }
        CHECK((leaf(intel, 4, 0).eax >> 14 & 0xfff) == 0);
        CHECK((leaf(intel, 4, 3).eax >> 14 & 0xfff) == last);
        CHECK((leaf(intel, 4, 3).eax >> 26) == last);
        CHECK((leaf(intel, 4, 3).eax & 0x3fff) == 0x0163);  // type and level stay
        CHECK(leaf(intel, 4, 4).eax == 0);
        CHECK_FALSE(is_set(leaf(intel, 0x80000001).ecx, 1));
        CHECK(leaf(intel, 0x80000008).ecx == 0);

        const auto amd = boot::guest_cpuid(host(Vendor::kAmd), 0, {.vcpus = count});
        CHECK(leaf(amd, 0x80000008).ecx == ((count - 1) | bits << 12));
        CHECK(is_set(leaf(amd, 0x80000001).ecx, 1) == (count > 1));
        CHECK((leaf(amd, 0x8000001d, 0).eax >> 14 & 0xfff) == 0);
        CHECK((leaf(amd, 0x8000001d, 3).eax >> 14 & 0xfff) == last);
    }
}

TEST_CASE("x2APIC and the hypervisor bit are always there, TSC deadline where KVM has it") {
    auto entries = host(Vendor::kAmd);
    for (Entry& entry : entries)
        if (entry.function == 1) entry.ecx = 0;
    const auto without = boot::guest_cpuid(entries, 0, {.vcpus = 1, .tsc_deadline = false});
    CHECK(leaf(without, 1).ecx == (1u << 21 | 1u << 31));
    const auto with = boot::guest_cpuid(entries, 0, {.vcpus = 1, .tsc_deadline = true});
    CHECK(leaf(with, 1).ecx == (1u << 21 | 1u << 24 | 1u << 31));
    const auto everything = boot::guest_cpuid(host(Vendor::kAmd), 0, {.vcpus = 1, .tsc_deadline = false});
    CHECK_FALSE(is_set(leaf(everything, 1).ecx, 24));
}

TEST_CASE("what hako does not save or emulate is hidden") {
    for (const Vendor vendor : {Vendor::kIntel, Vendor::kAmd}) {
        const auto guest = boot::guest_cpuid(host(vendor), 0, {.vcpus = 2, .tsc_deadline = true});
        for (const unsigned bit :
             {2u, 3u, 5u, 6u, 7u, 8u, 15u, 27u})  // MWAIT, VMX, SMX, PDCM … OSXSAVE is KVM's
            CHECK_FALSE(is_set(leaf(guest, 1).ecx, bit));
        CHECK_FALSE(is_set(leaf(guest, 1).edx, 21));  // debug store
        CHECK_FALSE(is_set(leaf(guest, 7).ebx, 2));   // SGX
        CHECK_FALSE(is_set(leaf(guest, 7).ebx, 25));  // processor trace
        CHECK_FALSE(is_set(leaf(guest, 7).ecx, 7));   // shadow stacks
        for (const unsigned bit : {17u, 21u})         // FRED, AMX
            CHECK_FALSE(is_set(leaf(guest, 7, 1).eax, bit));
        for (const unsigned bit : {19u, 21u})  // AVX10, APX
            CHECK_FALSE(is_set(leaf(guest, 7, 1).edx, bit));
        for (const unsigned bit : {20u, 22u, 24u, 25u})  // branch tracking, AMX
            CHECK_FALSE(is_set(leaf(guest, 7).edx, bit));
        for (const unsigned bit : {2u, 12u, 23u, 24u, 28u, 29u})  // SVM, PMU, MWAITX
            CHECK_FALSE(is_set(leaf(guest, 0x80000001).ecx, bit));
        for (const std::uint32_t function : {0x5u, 0xau, 0x14u, 0x8000000au, 0x80000026u})
            CHECK_FALSE(has(guest, function));
        CHECK(leaf(guest, 6).eax == 4);
        // What stays: SSE4.2, AVX, AVX2, the speculation controls.
        CHECK(is_set(leaf(guest, 1).ecx, 20));
        CHECK(is_set(leaf(guest, 1).ecx, 28));
        CHECK(is_set(leaf(guest, 7).ebx, 5));
        CHECK(is_set(leaf(guest, 7).edx, 26));
    }
}

TEST_CASE("the XSAVE leaves agree with each other once AMX, MPX and CET are off") {
    const auto guest = boot::guest_cpuid(host(Vendor::kIntel), 0, {.vcpus = 1});
    const std::uint32_t components = leaf(guest, 0xd).eax;
    CHECK(components == 0x2e7);
    CHECK(leaf(guest, 0xd).edx == 0);
    CHECK(leaf(guest, 0xd).ecx == 2688 + 8);  // PKRU is the last
    CHECK(leaf(guest, 0xd, 1).eax == 0xf);
    CHECK(leaf(guest, 0xd, 1).ecx == 0);
    for (std::uint32_t index = 2; index < 63; ++index) {
        CAPTURE(index);
        const bool there = index < 32 && is_set(components, index);
        CHECK(has(guest, 0xd, index) == there);
    }
    // A host with no more than AVX.
    auto entries = host(Vendor::kIntel);
    for (Entry& entry : entries)
        if (entry.function == 0xd && entry.index == 0) entry.eax = 7;
    CHECK(leaf(boot::guest_cpuid(entries, 0, {.vcpus = 1}), 0xd).ecx == 576 + 256);
}

TEST_CASE("the highest leaf of each range is one that is there") {
    for (const Vendor vendor : {Vendor::kIntel, Vendor::kAmd})
        for (const std::uint32_t khz : {0u, 2'500'000u}) {
            const auto guest = boot::guest_cpuid(host(vendor), 0, {.vcpus = 1, .tsc_khz = khz});
            CHECK(leaf(guest, 0).eax == (vendor == Vendor::kIntel ? 0x1f : 0xd));
            CHECK(has(guest, leaf(guest, 0x80000000).eax));
            CHECK(has(guest, leaf(guest, 0x40000000).eax));
            CHECK(leaf(guest, 0x40000000).ebx == 0x4b4d564b);  // "KVMK"
            CHECK(leaf(guest, 0x40000000).eax == (khz != 0 ? 0x40000010 : 0x40000001));
        }
}

TEST_CASE("a known TSC frequency is told, so that no guest has to measure it") {
    const auto intel = boot::guest_cpuid(host(Vendor::kIntel), 0, {.vcpus = 1, .tsc_khz = 2'500'000});
    CHECK(leaf(intel, 0x40000010).eax == 2'500'000);
    CHECK(leaf(intel, 0x40000010).ebx == 1'000'000);
    const Entry& ratio = leaf(intel, 0x15);
    CHECK(std::uint64_t{ratio.ecx} * ratio.ebx / ratio.eax == 2'500'000'000);
    CHECK_FALSE(has(boot::guest_cpuid(host(Vendor::kAmd), 0, {.vcpus = 1, .tsc_khz = 2'500'000}), 0x15));
    CHECK_FALSE(has(boot::guest_cpuid(host(Vendor::kIntel), 0, {.vcpus = 1}), 0x40000010));
}

TEST_CASE("kvmclock is offered, asynchronous page faults are not") {
    const auto guest = boot::guest_cpuid(host(Vendor::kAmd), 0, {.vcpus = 1});
    const Entry& features = leaf(guest, 0x40000001);
    for (const unsigned bit : {0u, 3u, 5u, 6u, 7u, 24u})
        CHECK(is_set(features.eax, bit));
    for (const unsigned bit : {4u, 10u, 14u, 15u, 16u, 17u})
        CHECK_FALSE(is_set(features.eax, bit));
    CHECK(features.edx == 0);
    // What KVM lacks is not made up.
    auto entries = host(Vendor::kAmd);
    for (Entry& entry : entries)
        if (entry.function == 0x40000001) entry.eax = 1;
    CHECK(leaf(boot::guest_cpuid(entries, 0, {.vcpus = 1}), 0x40000001).eax == 1);
}

TEST_CASE("a host that reports nothing gives a guest that is told nothing wrong") {
    const auto guest = boot::guest_cpuid({}, 0, {.vcpus = 1});
    for (const Entry& entry : guest)
        CHECK(entry.function == 0xb);
}

TEST_CASE("boot MSRs: write-back by default where there are MTRRs, fast strings on Intel") {
    const auto value = [](const std::vector<kvm::Msr>& msrs,
                          std::uint32_t index) -> std::optional<std::uint64_t> {
        for (const kvm::Msr& msr : msrs)
            if (msr.index == index) return msr.value;
        return std::nullopt;
    };
    const auto intel = boot::boot_msrs(host(Vendor::kIntel));
    CHECK(value(intel, 0x2ff) == 0x806);
    REQUIRE(value(intel, 0x1a0));
    CHECK((*value(intel, 0x1a0) & 1) == 1);
    CHECK((*value(intel, 0x1a0) >> 18 & 1) == 0);  // no MWAIT
    const auto amd = boot::boot_msrs(host(Vendor::kAmd));
    CHECK(value(amd, 0x2ff) == 0x806);
    CHECK_FALSE(value(amd, 0x1a0));
    CHECK(boot::boot_msrs({}).empty());
}

TEST_CASE("a vCPU that comes later is like one that was there from the start") {
    for (const Vendor vendor : {Vendor::kIntel, Vendor::kAmd}) {
        const boot::CpuidConfig config{.vcpus = 8, .tsc_deadline = true, .tsc_khz = 2'000'000};
        const auto first = boot::guest_cpuid(host(vendor), 0, config);
        const auto wanted = boot::guest_cpuid(host(vendor), 5, config);
        const auto made = boot::sibling_cpuid(first, 5);
        REQUIRE(made.size() == wanted.size());
        for (std::size_t i = 0; i < made.size(); ++i)
            CHECK(std::memcmp(&made[i], &wanted[i], sizeof made[i]) == 0);
    }
}
