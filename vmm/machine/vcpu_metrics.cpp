#include "vmm/machine/vcpu_metrics.h"

#include <fmt/core.h>

#include "vmm/kvm/uapi.h"

namespace hako {
namespace {

std::string reason_text(std::size_t reason) {
    switch (reason) {
        case KVM_EXIT_UNKNOWN:
            return "unknown";
        case KVM_EXIT_EXCEPTION:
            return "exception";
        case KVM_EXIT_IO:
            return "io";
        case KVM_EXIT_HYPERCALL:
            return "hypercall";
        case KVM_EXIT_DEBUG:
            return "debug";
        case KVM_EXIT_HLT:
            return "hlt";
        case KVM_EXIT_MMIO:
            return "mmio";
        case KVM_EXIT_IRQ_WINDOW_OPEN:
            return "irq_window_open";
        case KVM_EXIT_SHUTDOWN:
            return "shutdown";
        case KVM_EXIT_FAIL_ENTRY:
            return "fail_entry";
        case KVM_EXIT_INTR:
            return "intr";
        case KVM_EXIT_INTERNAL_ERROR:
            return "internal_error";
        default:
            return fmt::format("reason_{}", reason);
    }
}

}  // namespace

std::uint64_t VcpuExits::total() const {
    std::uint64_t sum = 0;
    for (std::size_t reason = 0; reason < kSignal; ++reason)
        sum += counts_[reason].load(std::memory_order_relaxed);
    return sum;
}

std::vector<std::pair<std::string, std::uint64_t>> VcpuExits::values() const {
    std::vector<std::pair<std::string, std::uint64_t>> values;
    for (std::size_t reason = 0; reason < counts_.size(); ++reason) {
        const std::uint64_t count = counts_[reason].load(std::memory_order_relaxed);
        if (count == 0) continue;
        const bool other = reason == kSignal - 1;
        values.emplace_back(reason == kSignal ? "signal" : other ? "other" : reason_text(reason), count);
    }
    return values;
}

}  // namespace hako
