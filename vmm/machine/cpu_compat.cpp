#include "vmm/machine/cpu_compat.h"

#include <algorithm>
#include <array>
#include <span>

#include "vmm/kvm/msr_list.h"

namespace hako {
namespace {

using Entry = kvm_cpuid_entry2;

constexpr std::uint32_t bit(unsigned number) {
    return std::uint32_t{1} << number;
}

struct Register {
    const char* name;
    std::uint32_t Entry::* member;
};
constexpr Register kEax{"EAX", &Entry::eax};
constexpr Register kEbx{"EBX", &Entry::ebx};
constexpr Register kEcx{"ECX", &Entry::ecx};
constexpr Register kEdx{"EDX", &Entry::edx};

constexpr std::uint32_t kTscDeadline = bit(24);
/// Leaf 1, ECX: x2APIC and HYPERVISOR are KVM's on every host, OSXSAVE follows CR4.
constexpr std::uint32_t kNotHosts1Ecx = bit(21) | bit(27) | bit(31);
constexpr std::uint32_t kHtt = bit(28);               // leaf 1, EDX: the VM's shape
constexpr std::uint32_t kOspke = bit(4);              // leaf 7, ECX: follows CR4
constexpr std::uint32_t kArchCapabilities = bit(29);  // leaf 7, EDX

/// Words in which each bit is something that a guest may use once it has seen it.
struct Word {
    std::uint32_t function;
    std::uint32_t index;
    Register reg;
    std::uint32_t ignored;
};
constexpr Word kWords[] = {
    {0x1, 0, kEcx, kNotHosts1Ecx},
    {0x1, 0, kEdx, kHtt},
    {0x6, 0, kEax, 0},
    {0x7, 0, kEbx, 0},
    {0x7, 0, kEcx, kOspke},
    {0x7, 0, kEdx, 0},
    {0x7, 1, kEax, 0},
    {0x7, 1, kEdx, 0},
    {0x7, 2, kEdx, 0},
    {0xd, 0, kEax, 0},
    {0xd, 0, kEdx, 0},
    {0xd, 1, kEax, 0},
    {0x40000001, 0, kEax, 0},
    {0x80000001, 0, kEcx, 0},
    {0x80000001, 0, kEdx, 0},
    {0x80000007, 0, kEdx, 0},
    {0x80000008, 0, kEbx, 0},
    {0x80000021, 0, kEax, 0},
};

/// Bits of IA32_ARCH_CAPABILITIES that say "not vulnerable", or how to stay so.
constexpr std::array<unsigned, 16> kImmunities = {0, 1, 3, 4, 5, 6, 7, 8, 13, 14, 15, 17, 20, 24, 26, 27};

const Entry* find(std::span<const Entry> entries, std::uint32_t function, std::uint32_t index) {
    const auto found = std::ranges::find_if(
        entries, [&](const Entry& entry) { return entry.function == function && entry.index == index; });
    return found == entries.end() ? nullptr : &*found;
}

std::string leaf(std::uint32_t function, std::uint32_t index) {
    if (index == 0) return fmt::format("CPUID leaf {:#x}", function);
    return fmt::format("CPUID leaf {:#x}, subleaf {}", function, index);
}

class Comparison {
  public:
    using Entries = std::span<const Entry>;

    void compare_vendor(Entries guest_entries, Entries host_entries) {
        const Entry* const guest = find(guest_entries, 0, 0);
        const Entry* const host = find(host_entries, 0, 0);
        if (guest == nullptr || host == nullptr) return;
        for (const Register& reg : {kEbx, kEcx, kEdx}) {
            if (guest->*reg.member == host->*reg.member) continue;
            add("CPUID leaf 0x0, {}: the CPU is another maker's", reg.name);
            return;
        }
    }

    void compare_word(Entries guest_entries, Entries host_entries, const Word& word, std::uint32_t ignored) {
        const Entry* const guest = find(guest_entries, word.function, word.index);
        if (guest == nullptr) return;
        const Entry* const host = find(host_entries, word.function, word.index);
        const std::uint32_t offered = host == nullptr ? 0 : host->*word.reg.member;
        const std::uint32_t missing = guest->*word.reg.member & ~offered & ~word.ignored & ~ignored;
        for (unsigned number = 0; number < 32; ++number)
            if ((missing & bit(number)) != 0)
                add("{}, {} bit {}", leaf(word.function, word.index), word.reg.name, number);
    }

    /// Where each component of the XSAVE area lies is the CPU's choice, and the guest's own areas follow it.
    void compare_xsave(Entries guest_entries, Entries host_entries) {
        for (const Entry& guest : guest_entries) {
            if (guest.function != 0xd || guest.index < 2) continue;
            const Entry* const host = find(host_entries, guest.function, guest.index);
            if (host == nullptr) continue;  // its bit in leaf 0xd is missing, too
            for (const Register& reg : {kEax, kEbx})
                if (guest.*reg.member != host->*reg.member)
                    add("{}, {}: {}, here {}", leaf(guest.function, guest.index), reg.name, guest.*reg.member,
                        host->*reg.member);
        }
    }

    void compare_address_width(Entries guest_entries, Entries host_entries) {
        const Entry* const guest = find(guest_entries, 0x80000008, 0);
        const Entry* const host = find(host_entries, 0x80000008, 0);
        if (guest == nullptr || host == nullptr) return;
        if ((guest->eax & 0xff) > (host->eax & 0xff))
            add("CPUID leaf 0x80000008, EAX: physical addresses of {} bits, here {}", guest->eax & 0xff,
                host->eax & 0xff);
    }

    void compare_msrs(const kvm::VcpuState& guest, const HostCpu& host) {
        for (const kvm::Msr& msr : guest.msrs) {
            if (msr.value == 0 || !kvm::is_essential(msr.index)) continue;
            if (std::ranges::find(host.msrs, msr.index) == host.msrs.end())
                add("MSR {:#x}, which this host's KVM does not keep", msr.index);
        }
        const Entry* const features = find(guest.cpuid, 7, 0);
        if (features == nullptr || (features->edx & kArchCapabilities) == 0) return;
        const std::uint64_t seen = find_msr(guest, kvm::msr::kArchCapabilities).value_or(0);
        const std::uint64_t here = host.arch_capabilities.value_or(0);
        for (const unsigned number : kImmunities)
            if ((seen >> number & 1) != 0 && (here >> number & 1) == 0)
                add("MSR {:#x} (IA32_ARCH_CAPABILITIES) bit {}", kvm::msr::kArchCapabilities, number);
    }

    void compare_tsc(const kvm::VcpuState& guest, const HostCpu& host) {
        if (!host.tsc_scaling && !kvm::same_rate(guest.tsc_khz, host.tsc_khz))
            add("the TSC ticks at {} kHz, here at {} kHz, and this host cannot scale it", guest.tsc_khz,
                host.tsc_khz);
    }

    void compare_cpuid(Entries guest, Entries host, bool tsc_deadline) {
        compare_vendor(guest, host);
        for (const Word& word : kWords) {
            const bool features = word.function == 1 && word.reg.member == &Entry::ecx;
            compare_word(guest, host, word, features && tsc_deadline ? kTscDeadline : 0);
        }
        compare_xsave(guest, host);
        compare_address_width(guest, host);
    }

    [[nodiscard]] std::vector<std::string> found() && { return std::move(found_); }

  private:
    template <typename... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        found_.push_back(fmt::format(format, std::forward<Args>(args)...));
    }

    std::vector<std::string> found_;
};

}  // namespace

Result<HostCpu> HostCpu::read(const kvm::System& system, const kvm::Vm& vm) {
    return HostCpu{
        .cpuid = HAKO_TRY(system.supported_cpuid()),
        .msrs = HAKO_TRY(kvm::state_msrs(system)),
        .tsc_deadline = system.extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0,
        .tsc_scaling = system.extension(KVM_CAP_TSC_CONTROL) != 0,
        .tsc_khz = vm.tsc_khz(),
        .arch_capabilities = system.feature_msr(kvm::msr::kArchCapabilities),
    };
}

std::vector<std::string> cpuid_differences(std::span<const kvm_cpuid_entry2> guest,
                                           std::span<const kvm_cpuid_entry2> host, bool tsc_deadline) {
    Comparison comparison;
    comparison.compare_cpuid(guest, host, tsc_deadline);
    return std::move(comparison).found();
}

std::vector<std::string> cpu_differences(const kvm::VcpuState& guest, const HostCpu& host) {
    Comparison comparison;
    comparison.compare_cpuid(guest.cpuid, host.cpuid, host.tsc_deadline);
    comparison.compare_msrs(guest, host);
    comparison.compare_tsc(guest, host);
    return std::move(comparison).found();
}

Result<> refuse_differences(std::span<const std::string> differences) {
    constexpr std::size_t kTold = 3;
    if (differences.empty()) return {};
    std::string told = differences.front();
    for (std::size_t i = 1; i < std::min(differences.size(), kTold); ++i)
        told += "; " + differences[i];
    if (differences.size() > kTold) told += fmt::format("; and {} more", differences.size() - kTold);
    return fail_input("the guest relies on what this host's CPU has not: {}", told);
}

}  // namespace hako
