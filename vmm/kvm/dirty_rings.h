// KVM's dirty rings (KVM api.rst, 8.29 KVM_CAP_DIRTY_LOG_RING): each vCPU tells in a ring which pages it
// writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/kvm/uapi.h"

namespace hako::kvm {

/// One vCPU's ring as the kernel maps it. One thread at a time.
class DirtyRing {
  public:
    /// `entries`: a power of two. Nothing is owned.
    explicit DirtyRing(std::span<kvm_dirty_gfn> entries) : entries_(entries) {}

    /// Takes what the kernel has put there, at most the whole ring once, and marks it for
    /// KVM_RESET_DIRTY_RINGS: how many pages that was.
    std::size_t take(const std::function<void(std::uint32_t slot, std::uint64_t page)>& page);
    [[nodiscard]] std::span<kvm_dirty_gfn> entries() const { return entries_; }

  private:
    std::span<kvm_dirty_gfn> entries_;
    std::size_t next_ = 0;
};

/// The rings of a VM's vCPUs; these stay mapped as long as the VM is, as KVM keeps vCPUs. Any thread.
class DirtyRings {
  public:
    /// `entries`: of each ring.
    explicit DirtyRings(std::size_t entries) : entries_(entries) {}
    DirtyRings(const DirtyRings&) = delete;
    DirtyRings& operator=(const DirtyRings&) = delete;
    ~DirtyRings();

    /// That of a new vCPU.
    Result<> add(int vcpu);
    /// Takes what is in all rings, then has KVM protect these pages again (KVM_RESET_DIRTY_RINGS): whoever
    /// reads them afterwards has them as they are, or is told of them again.
    Result<> take(int vm, const std::function<void(std::uint32_t slot, std::uint64_t page)>& page);

  private:
    const std::size_t entries_;
    std::mutex mutex_;
    std::vector<DirtyRing> rings_;
};

}  // namespace hako::kvm
