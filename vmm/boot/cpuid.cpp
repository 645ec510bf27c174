#include "vmm/boot/cpuid.h"

#include <asm/kvm_para.h>

#include <algorithm>
#include <bit>

namespace hako::boot {
namespace {

using Entry = kvm_cpuid_entry2;

constexpr std::uint32_t bit(unsigned number) {
    return std::uint32_t{1} << number;
}

/// Leaves a guest gets; KVM answers zeros for all others. 0x80000007 passes with its invariant TSC: a guest
/// that counts on it moves only to a host of the same TSC frequency, or one that scales it. Left out: 3
/// (serial number), 0xa (PMU: its counters and MSRs are not saved), 0x10 (cache allocation), 0x12 (SGX), 0x14
/// (processor trace), 0x18, 0x1d and 0x1e (AMX), 0x8000000a (nested SVM), 0x8000001b (IBS), 0x8000001f (SEV),
/// 0x80000022 (PMU), 0x80000026 (topology again).
constexpr std::uint32_t kPassed[] = {
    0x0,        0x1,        0x2,        0x4,        0x6,        0x7,        0xb,
    0xd,        0x1f,       0x40000000, 0x40000001, 0x80000000, 0x80000001, 0x80000002,
    0x80000003, 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008, 0x80000019,
    0x8000001a, 0x8000001d, 0x8000001e, 0x80000021,
};

constexpr std::uint32_t kGenuineIntel = 0x756e6547;  // "Genu", leaf 0, EBX
constexpr std::uint32_t kKvmTimingLeaf = 0x40000010;
/// Of KVM's local APIC timer: one tick a nanosecond.
constexpr std::uint32_t kApicKhz = 1'000'000;

// Leaf 1.
constexpr std::uint32_t kX2Apic = bit(21);
constexpr std::uint32_t kTscDeadline = bit(24);
constexpr std::uint32_t kOsXsave = bit(27);
constexpr std::uint32_t kHypervisor = bit(31);
constexpr std::uint32_t kHtt = bit(28);
/// ECX: DTES64 and DS_CPL (debug store), MONITOR (MWAIT would park the host CPU), VMX (nested state is not
/// saved), SMX, EST and TM2 (frequency and heat are the host's), SDBG, PDCM (PMU).
constexpr std::uint32_t kHidden1Ecx =
    bit(2) | bit(4) | bit(3) | bit(5) | bit(6) | bit(7) | bit(8) | bit(11) | bit(15);
/// EDX: DS (debug store), ACPI, TM and PBE (heat).
constexpr std::uint32_t kHidden1Edx = bit(21) | bit(22) | bit(29) | bit(31);

// Leaf 7. EBX: SGX, PQM and PQE (cache monitoring and allocation), MPX (gone from new CPUs; its XSAVE state
// is off below), processor trace.
constexpr std::uint32_t kHidden7Ebx = bit(2) | bit(12) | bit(14) | bit(15) | bit(25);
/// ECX: WAITPKG (as MWAIT), key locker, ENQCMD, SGX_LC; CET shadow stacks (supervisor XSAVE state is off
/// below).
constexpr std::uint32_t kHidden7Ecx = bit(5) | bit(7) | bit(23) | bit(29) | bit(30);
/// EDX: UINTR (no KVM saves it), PCONFIG, ARCH_LBR, CET indirect branch tracking, AMX BF16, TILE and INT8.
constexpr std::uint32_t kHidden7Edx = bit(5) | bit(18) | bit(19) | bit(20) | bit(22) | bit(24) | bit(25);
/// Subleaf 1. EAX: FRED (new state to save), AMX FP16. EDX: AMX COMPLEX, CET supervisor shadow stack, AVX10
/// and APX (with leaves and XSAVE state of their own).
constexpr std::uint32_t kHidden71Eax = bit(17) | bit(21);
constexpr std::uint32_t kHidden71Edx = bit(8) | bit(18) | bit(19) | bit(21);

// Leaf 0x80000001, ECX: SVM (nested state is not saved), EXTAPIC, IBS, SKINIT, WDT, LWP, the PMU's core,
// north-bridge and last-level-cache counters, MWAITX.
constexpr std::uint32_t kHidden81Ecx =
    bit(2) | bit(3) | bit(10) | bit(12) | bit(13) | bit(15) | bit(23) | bit(24) | bit(28) | bit(29);
constexpr std::uint32_t kCmpLegacy = bit(1);

/// XSAVE components a guest may use: x87, SSE, AVX, AVX-512 (three) and PKRU. AMX tiles (17, 18) need the
/// host's arch_prctl permission and 8 KiB of state a vCPU; MPX (3, 4) is gone from new CPUs. No supervisor
/// components.
constexpr std::uint64_t kXcr0Mask = 0b10'1110'0111;
constexpr std::uint32_t kXsaveLegacySize = 576;  // x87, SSE and the header

/// KVM's paravirtual features (Linux: Documentation/virt/kvm/x86/cpuid.rst), EAX of leaf 0x40000001.
constexpr std::uint32_t kKvmFeatures =
    bit(KVM_FEATURE_CLOCKSOURCE) | bit(KVM_FEATURE_CLOCKSOURCE2) |  // kvmclock by its old and new MSRs
    bit(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT) |  // its flag is to be believed: readings are monotonic across
                                               // vCPUs
    bit(KVM_FEATURE_NOP_IO_DELAY) |            // no port 0x80 writes, each of which would be an exit
    bit(KVM_FEATURE_STEAL_TIME) | bit(KVM_FEATURE_PV_EOI) |
    bit(KVM_FEATURE_PV_UNHALT) |  // kernel state, in MSRs
    bit(KVM_FEATURE_PV_TLB_FLUSH) | bit(KVM_FEATURE_PV_SEND_IPI) | bit(KVM_FEATURE_PV_SCHED_YIELD) |
    bit(KVM_FEATURE_POLL_CONTROL);
// Left out, each for its reason. ASYNC_PF, ASYNC_PF_VMEXIT and ASYNC_PF_INT: a guest may wait for a "page
// ready" that would have to follow it through a snapshot. MSI_EXT_DEST_ID: for APIC ids above 254, which hako
// has none of. HC_MAP_GPA_RANGE and MIGRATION_CONTROL: hypercalls and an MSR that hako would have to answer.

const Entry* find(std::span<const Entry> entries, std::uint32_t function, std::uint32_t index = 0) {
    for (const Entry& entry : entries)
        if (entry.function == function && entry.index == index) return &entry;
    return nullptr;
}

/// What the whole policy depends on.
struct Shape {
    const CpuidConfig& config;
    std::uint32_t vcpu;
    bool intel;
    std::uint64_t xcr0;        ///< components the guest gets
    std::uint32_t xsave_size;  ///< of all of them, standard format

    /// Bits of the APIC id that tell the cores of the one socket apart.
    [[nodiscard]] std::uint32_t core_bits() const {
        return static_cast<std::uint32_t>(std::bit_width(config.vcpus - 1));
    }
    /// Ids in the socket, used or not, less one: how cache leaves count those who share.
    [[nodiscard]] std::uint32_t last_id() const { return bit(core_bits()) - 1; }
};

Shape make_shape(std::span<const Entry> supported, std::uint32_t vcpu, const CpuidConfig& config) {
    Shape shape{.config = config, .vcpu = vcpu, .intel = false, .xcr0 = 0, .xsave_size = kXsaveLegacySize};
    const Entry* vendor = find(supported, 0);
    shape.intel = vendor != nullptr && vendor->ebx == kGenuineIntel;
    if (const Entry* xsave = find(supported, 0xd))
        shape.xcr0 = (std::uint64_t{xsave->edx} << 32 | xsave->eax) & kXcr0Mask;
    for (const Entry& entry : supported) {
        if (entry.function != 0xd || entry.index < 2 || entry.index > 63) continue;
        if ((shape.xcr0 >> entry.index & 1) != 0)
            shape.xsave_size = std::max(shape.xsave_size, entry.ebx + entry.eax);
    }
    return shape;
}

/// Topology leaves 0xb and 0x1f: threads (level type 1), then cores (2), then the end (0).
Entry topology(std::uint32_t function, std::uint32_t index, const Shape& shape) {
    Entry entry{.function = function, .index = index, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
    entry.edx = shape.vcpu;
    entry.ecx = index;
    if (index == 0) {
        entry.ebx = 1;
        entry.ecx |= 1u << 8;
    } else if (index == 1) {
        entry.eax = shape.core_bits();
        entry.ebx = shape.config.vcpus;
        entry.ecx |= 2u << 8;
    }
    return entry;
}

/// Cache leaves 4 (Intel) and 0x8000001d (AMD): the last level is everybody's, the others are each core's
/// own.
void set_cache_sharing(Entry& entry, const Shape& shape) {
    const std::uint32_t type = entry.eax & 0x1f;
    if (type == 0) return;  // the end of the list
    const std::uint32_t level = entry.eax >> 5 & 7;
    const std::uint32_t sharing = level >= 3 ? shape.last_id() : 0;
    entry.eax = (entry.eax & ~(0xfffu << 14)) | sharing << 14;
    if (entry.function == 4)
        entry.eax = (entry.eax & ~(0x3fu << 26)) | std::min(shape.last_id(), 0x3fu) << 26;
}

/// Leaf 0xd; false if the guest is not to see this subleaf.
bool set_xsave(Entry& entry, const Shape& shape) {
    if (entry.index == 0) {
        entry.eax = static_cast<std::uint32_t>(shape.xcr0);
        entry.edx = static_cast<std::uint32_t>(shape.xcr0 >> 32);
        entry.ebx = kXsaveLegacySize;  // for XCR0 at reset; KVM follows XCR0 from then on
        entry.ecx = shape.xsave_size;
        return true;
    }
    if (entry.index == 1) {
        entry.eax &= 0xf;  // XSAVEOPT, XSAVEC, XGETBV with ECX = 1, XSAVES; not XFD, which is for AMX
        entry.ebx = kXsaveLegacySize;
        entry.ecx = entry.edx = 0;  // no supervisor components
        return true;
    }
    return entry.index < 64 && (shape.xcr0 >> entry.index & 1) != 0;
}

void set_features(Entry& entry, const Shape& shape) {
    const bool several = shape.config.vcpus > 1;
    entry.ebx = (entry.ebx & 0xffff) | std::min(shape.config.vcpus, 0xffu) << 16 | shape.vcpu << 24;
    entry.ecx &= ~(kHidden1Ecx | kTscDeadline | kOsXsave);  // OSXSAVE mirrors CR4; KVM keeps it
    // The in-kernel local APIC always has x2APIC mode, on hosts whose own has not too. TSC deadline is left
    // to us.
    entry.ecx |= kX2Apic | kHypervisor | (shape.config.tsc_deadline ? kTscDeadline : 0);
    entry.edx = (entry.edx & ~(kHidden1Edx | kHtt)) | (several ? kHtt : 0);
}

/// Applies the policy to one entry; false if the guest is not to see it.
bool apply(Entry& entry, const Shape& shape) {
    const bool several = shape.config.vcpus > 1;
    switch (entry.function) {
        case 0x1:
            set_features(entry, shape);
            return true;
        case 0x4:
        case 0x8000001d:
            set_cache_sharing(entry, shape);
            return true;
        case 0x6:
            // ARAT: KVM's APIC timer runs in any idle state. All else there is the host's heat and power.
            entry.eax = bit(2);
            entry.ebx = entry.ecx = entry.edx = 0;
            return true;
        case 0x7:
            if (entry.index == 0) {
                entry.ebx &= ~kHidden7Ebx;
                entry.ecx &= ~kHidden7Ecx;
                entry.edx &= ~kHidden7Edx;
            } else if (entry.index == 1) {
                entry.eax &= ~kHidden71Eax;
                entry.edx &= ~kHidden71Edx;
            }
            return true;
        case 0xb:
        case 0x1f:
            return false;  // made afresh by add_topology()
        case 0xd:
            return set_xsave(entry, shape);
        case 0x40000000:
            // "KVMKVMKVM" stays, so that guests find kvmclock.
            if (shape.config.tsc_khz != 0) entry.eax = kKvmTimingLeaf;
            return true;
        case 0x40000001:
            entry.eax &= kKvmFeatures;
            entry.edx = 0;  // hints: no vCPU has a host CPU to itself for certain
            return true;
        case 0x80000001:
            entry.ecx &= ~(kHidden81Ecx | kCmpLegacy);
            // AMD's way to say that leaf 1's count is of cores, not threads.
            if (!shape.intel && several) entry.ecx |= kCmpLegacy;
            return true;
        case 0x80000008:
            // AMD's core count less one and the bits of the APIC id for it; reserved on Intel.
            entry.ecx = shape.intel ? 0 : (shape.config.vcpus - 1) | shape.core_bits() << 12;
            return true;
        case 0x8000001e:
            entry.eax = shape.vcpu;         // extended APIC id
            entry.ebx = shape.vcpu & 0xff;  // core id; one thread a core
            entry.ecx = 0;                  // node 0 of 1
            entry.edx = 0;
            return true;
        default:
            return true;
    }
}

void add_topology(std::vector<Entry>& entries, bool v2, const Shape& shape) {
    for (std::uint32_t index = 0; index < 3; ++index) {
        entries.push_back(topology(0xb, index, shape));
        if (v2) entries.push_back(topology(0x1f, index, shape));
    }
}

/// How fast the TSC and the APIC timer run, so that no guest has to measure.
void add_timing(std::vector<Entry>& entries, const Shape& shape) {
    const std::uint32_t khz = shape.config.tsc_khz;
    if (khz == 0) return;
    // What VMware began and other hypervisors took over: EAX TSC, EBX APIC timer, in kHz.
    entries.push_back({.function = kKvmTimingLeaf, .eax = khz, .ebx = kApicKhz});
    // For Intel guests that do not know KVM: TSC = crystal (ECX, Hz) * EBX / EAX. The crystal is the APIC
    // timer's.
    if (shape.intel)
        entries.push_back({.function = 0x15, .eax = kApicKhz, .ebx = khz, .ecx = kApicKhz * 1000});
}

/// Sets EAX of the leaf that tells how far its range goes: leaf 0 or 0x80000000.
void set_highest(std::vector<Entry>& entries, std::uint32_t first) {
    std::uint32_t highest = first;
    for (const Entry& entry : entries)
        if (entry.function >= first && entry.function - first < 0x10000)
            highest = std::max(highest, entry.function);
    for (Entry& entry : entries)
        if (entry.function == first) entry.eax = highest;
}

}  // namespace

std::vector<kvm_cpuid_entry2> guest_cpuid(std::span<const kvm_cpuid_entry2> supported, std::uint32_t vcpu,
                                          const CpuidConfig& config) {
    const Shape shape = make_shape(supported, vcpu, config);
    std::vector<Entry> entries;
    entries.reserve(supported.size() + 8);
    for (Entry entry : supported) {
        if (std::ranges::find(kPassed, entry.function) == std::end(kPassed)) continue;
        if (apply(entry, shape)) entries.push_back(entry);
    }
    add_topology(entries, find(supported, 0x1f) != nullptr, shape);
    add_timing(entries, shape);
    set_highest(entries, 0);
    set_highest(entries, 0x80000000);
    std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
        return a.function != b.function ? a.function < b.function : a.index < b.index;
    });
    return entries;
}

std::vector<kvm_cpuid_entry2> sibling_cpuid(std::span<const kvm_cpuid_entry2> other, std::uint32_t vcpu) {
    std::vector<Entry> entries(other.begin(), other.end());
    for (Entry& entry : entries) {
        switch (entry.function) {
            case 0x1:
                entry.ebx = (entry.ebx & 0x00ffffff) | vcpu << 24;
                break;
            case 0xb:
            case 0x1f:
                entry.edx = vcpu;
                break;
            case 0x8000001e:
                entry.eax = vcpu;
                entry.ebx = (entry.ebx & ~0xffu) | (vcpu & 0xff);
                break;
            default:
                break;
        }
    }
    return entries;
}

}  // namespace hako::boot
