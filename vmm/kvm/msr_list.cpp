#include "vmm/kvm/msr_list.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace hako::kvm {
namespace {

constexpr std::uint32_t kMtrrVariableFirst = 0x200;  // 8 pairs
constexpr std::uint32_t kMtrrVariableLast = 0x20f;
constexpr std::array<std::uint32_t, 12> kMtrrOthers = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                                       0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x2ff};

/// Of Hyper-V's interface, which boot::guest_cpuid() does not offer. Some of them count time, and setting any
/// makes KVM build all of that interface.
constexpr std::uint32_t kHyperVFirst = 0x40000000;
constexpr std::uint32_t kHyperVLast = 0x40000fff;

constexpr std::uint32_t kEssential[] = {
    0x174,
    0x175,
    0x176,  // SYSENTER_CS, _ESP, _EIP
    0x277,  // PAT
    0xda0,  // XSS
    0xc0000081,
    0xc0000082,
    0xc0000083,  // STAR, LSTAR, CSTAR
    0xc0000084,  // SYSCALL_MASK
    0xc0000102,
    0xc0000103,  // KERNEL_GS_BASE, TSC_AUX
    msr::kTscDeadline,
    0x11,
    0x12,  // KVM's wall clock and system time, old
    0x4b564d00,
    0x4b564d01,  // and new
    0x4b564d02,
    0x4b564d06,
    0x4b564d07,  // asynchronous page faults
    0x4b564d03,
    0x4b564d04,
    0x4b564d05,  // steal time, PV EOI, poll control
};

}  // namespace

std::vector<std::uint32_t> select_msrs(std::vector<std::uint32_t> indices) {
    std::erase_if(indices, [](std::uint32_t index) { return index >= kHyperVFirst && index <= kHyperVLast; });
    for (std::uint32_t index = kMtrrVariableFirst; index <= kMtrrVariableLast; ++index)
        indices.push_back(index);
    indices.insert(indices.end(), kMtrrOthers.begin(), kMtrrOthers.end());
    std::ranges::sort(indices);
    indices.erase(std::ranges::unique(indices).begin(), indices.end());
    return indices;
}

Result<std::vector<std::uint32_t>> state_msrs(const System& system) {
    return select_msrs(HAKO_TRY(system.msr_indices()));
}

bool is_essential(std::uint32_t index) {
    return std::ranges::find(kEssential, index) != std::end(kEssential);
}

std::vector<Msr> in_restore_order(std::span<const Msr> msrs) {
    const auto rank = [](const Msr& msr) {
        return msr.index == msr::kFeatureControl ? 0 : msr.index == msr::kTscDeadline ? 2 : 1;
    };
    std::vector<Msr> ordered;
    for (int wanted = 0; wanted <= 2; ++wanted)
        std::ranges::copy_if(msrs, std::back_inserter(ordered),
                             [&](const Msr& msr) { return rank(msr) == wanted; });
    return ordered;
}

}  // namespace hako::kvm
