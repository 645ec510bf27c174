#include "vmm/kvm/dirty_rings.h"

#include <sys/mman.h>

#include "vmm/base/units.h"
#include "vmm/kvm/ioctl.h"

namespace hako::kvm {

std::size_t DirtyRing::take(const std::function<void(std::uint32_t slot, std::uint64_t page)>& page) {
    std::size_t taken = 0;
    for (; taken < entries_.size(); ++taken) {
        kvm_dirty_gfn& entry = entries_[next_];
        if (__atomic_load_n(&entry.flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) break;
        page(entry.slot, entry.offset);
        __atomic_store_n(&entry.flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        next_ = (next_ + 1) % entries_.size();
    }
    return taken;
}

DirtyRings::~DirtyRings() {
    for (const DirtyRing& ring : rings_)
        ::munmap(ring.entries().data(), ring.entries().size_bytes());
}

Result<> DirtyRings::add(int vcpu) {
    void* const mapping = ::mmap(nullptr, entries_ * sizeof(kvm_dirty_gfn), PROT_READ | PROT_WRITE,
                                 MAP_SHARED, vcpu, static_cast<off_t>(KVM_DIRTY_LOG_PAGE_OFFSET * kPageSize));
    if (mapping == MAP_FAILED) return fail_errno(errno, "cannot map a vCPU's dirty ring");
    const std::lock_guard lock(mutex_);
    rings_.emplace_back(std::span(static_cast<kvm_dirty_gfn*>(mapping), entries_));
    return {};
}

Result<> DirtyRings::take(int vm, const std::function<void(std::uint32_t slot, std::uint64_t page)>& page) {
    const std::lock_guard lock(mutex_);
    std::size_t taken = 0;
    for (DirtyRing& ring : rings_)
        taken += ring.take(page);
    if (taken > 0 && ioctl_retry(vm, KVM_RESET_DIRTY_RINGS, 0) < 0)
        return fail_errno(errno, "KVM_RESET_DIRTY_RINGS");
    return {};
}

}  // namespace hako::kvm
