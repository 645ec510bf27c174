#include "vmm/boot/msrs.h"

#include <algorithm>

namespace hako::boot {
namespace {

constexpr std::uint32_t kMiscEnable = 0x1a0;
constexpr std::uint32_t kMtrrDefType = 0x2ff;

constexpr std::uint64_t kMiscEnableFastString = 1u << 0;
constexpr std::uint64_t kMiscEnableBtsUnavailable = 1u << 11;
constexpr std::uint64_t kMiscEnablePebsUnavailable = 1u << 12;
constexpr std::uint64_t kMtrrEnable = 1u << 11;
constexpr std::uint64_t kMtrrWriteBack = 6;

constexpr std::uint32_t kMtrrBit = 1u << 12;         // leaf 1, EDX
constexpr std::uint32_t kGenuineIntel = 0x756e6547;  // "Genu", leaf 0, EBX

const kvm_cpuid_entry2* find(std::span<const kvm_cpuid_entry2> cpuid, std::uint32_t function) {
    const auto found = std::ranges::find(cpuid, function, &kvm_cpuid_entry2::function);
    return found == cpuid.end() ? nullptr : &*found;
}

}  // namespace

std::vector<kvm::Msr> boot_msrs(std::span<const kvm_cpuid_entry2> cpuid) {
    std::vector<kvm::Msr> msrs;
    // An Intel MSR: REP MOVS runs fast only with it, and Linux clears the CPU's ERMS feature without. There
    // is no PMU, so the two bits that say "no branch trace, no precise events" go with it.
    const kvm_cpuid_entry2* vendor = find(cpuid, 0);
    if (vendor != nullptr && vendor->ebx == kGenuineIntel)
        msrs.push_back(
            {kMiscEnable, kMiscEnableFastString | kMiscEnableBtsUnavailable | kMiscEnablePebsUnavailable});
    // Reset leaves MTRRs off, which means all memory uncached, and Linux gives up on PAT then. Firmware would
    // set write-back by default; device windows are mapped uncached by PAT.
    const kvm_cpuid_entry2* features = find(cpuid, 1);
    if (features != nullptr && (features->edx & kMtrrBit) != 0)
        msrs.push_back({kMtrrDefType, kMtrrEnable | kMtrrWriteBack});
    return msrs;
}

}  // namespace hako::boot
