// /dev/kvm: what this host's KVM can do, and new VMs. No policy. (Linux: Documentation/virt/kvm/api.rst)
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/kvm/uapi.h"

namespace hako::kvm {

class Vm;

/// An open /dev/kvm of API version 12.
class System {
  public:
    static Result<System> open();

    /// KVM_CHECK_EXTENSION on the system: 0 when absent, else the capability's value.
    [[nodiscard]] int extension(std::uint32_t capability) const;
    /// KVM_GET_SUPPORTED_CPUID.
    [[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
    /// KVM_GET_MSR_INDEX_LIST: the MSRs that make up guest state on this host.
    [[nodiscard]] Result<std::vector<std::uint32_t>> msr_indices() const;
    /// The host's value of an MSR that tells features (KVM_GET_MSRS on the system), or nothing.
    [[nodiscard]] std::optional<std::uint64_t> feature_msr(std::uint32_t index) const;
    [[nodiscard]] Result<Vm> create_vm() const;
    /// Bytes of a vCPU's kvm_run mapping.
    [[nodiscard]] std::size_t vcpu_mmap_size() const { return vcpu_mmap_size_; }

  private:
    System(Fd fd, std::size_t vcpu_mmap_size) : fd_(std::move(fd)), vcpu_mmap_size_(vcpu_mmap_size) {}

    Fd fd_;
    std::size_t vcpu_mmap_size_;
};

}  // namespace hako::kvm
