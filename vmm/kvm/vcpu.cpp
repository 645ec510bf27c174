#include "vmm/kvm/vcpu.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "vmm/kvm/ioctl.h"

namespace hako::kvm {
namespace {

template <typename T>
Result<T> get_state(int fd, unsigned long request, const char* name) {
    T state{};
    if (ioctl_retry(fd, request, &state) < 0) return fail_errno(errno, "{}", name);
    return state;
}

template <typename T>
Result<> set_state(int fd, unsigned long request, const T& state, const char* name) {
    if (ioctl_retry(fd, request, &state) < 0) return fail_errno(errno, "{}", name);
    return {};
}

/// MSRs a KVM_SET_MSRS call carries here; more go in several calls.
constexpr std::size_t kMsrBatch = 64;

}  // namespace

Result<Vcpu> Vcpu::adopt(Fd fd, std::size_t mmap_size, std::uint32_t id) {
    void* page = ::mmap(nullptr, mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (page == MAP_FAILED) return fail_errno(errno, "cannot map kvm_run of vCPU {}", id);
    return Vcpu(std::move(fd), static_cast<kvm_run*>(page), mmap_size, id);
}

Vcpu::Vcpu(Vcpu&& other) noexcept
    : fd_(std::move(other.fd_)),
      run_(std::exchange(other.run_, nullptr)),
      mmap_size_(other.mmap_size_),
      id_(other.id_) {}

Vcpu::~Vcpu() {
    if (run_ != nullptr) ::munmap(run_, mmap_size_);
}

std::span<std::byte> Vcpu::pio_data() {
    // KVM places the data in this very mapping; the offset is the kernel's, not the guest's.
    std::byte* base = reinterpret_cast<std::byte*>(run_) + run_->io.data_offset;
    return {base, std::size_t{run_->io.size} * run_->io.count};
}

Result<Vcpu::RunStatus> Vcpu::run() {
    if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) return RunStatus::kExit;
    if (errno == EINTR || errno == EAGAIN) return RunStatus::kInterrupted;
    return fail_errno(errno, "KVM_RUN of vCPU {}", id_);
}

Result<> Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) {
    const auto cpuid = make_flexible<kvm_cpuid2, kvm_cpuid_entry2>(entries.size());
    cpuid->nent = static_cast<std::uint32_t>(entries.size());
    std::memcpy(cpuid->entries, entries.data(), entries.size_bytes());
    if (ioctl_retry(fd_.get(), KVM_SET_CPUID2, cpuid.get()) < 0) return fail_errno(errno, "KVM_SET_CPUID2");
    return {};
}

Result<std::vector<std::uint32_t>> Vcpu::set_msrs(std::span<const Msr> msrs) {
    std::vector<std::uint32_t> refused;
    while (!msrs.empty()) {
        const std::size_t count = std::min(msrs.size(), kMsrBatch);
        const auto batch = make_flexible<kvm_msrs, kvm_msr_entry>(count);
        batch->nmsrs = static_cast<std::uint32_t>(count);
        for (std::size_t i = 0; i < count; ++i)
            batch->entries[i] = {.index = msrs[i].index, .reserved = 0, .data = msrs[i].value};
        const int done = ioctl_retry(fd_.get(), KVM_SET_MSRS, batch.get());
        if (done < 0) return fail_errno(errno, "KVM_SET_MSRS");
        std::size_t consumed = static_cast<std::size_t>(done);
        // KVM stops at the first MSR it does not take and reports how many went before it.
        if (consumed < count) refused.push_back(msrs[consumed++].index);
        msrs = msrs.subspan(consumed);
    }
    return refused;
}

Result<kvm_regs> Vcpu::regs() const {
    return get_state<kvm_regs>(fd_.get(), KVM_GET_REGS, "KVM_GET_REGS");
}
Result<> Vcpu::set_regs(const kvm_regs& regs) {
    return set_state(fd_.get(), KVM_SET_REGS, regs, "KVM_SET_REGS");
}
Result<kvm_sregs> Vcpu::sregs() const {
    return get_state<kvm_sregs>(fd_.get(), KVM_GET_SREGS, "KVM_GET_SREGS");
}
Result<> Vcpu::set_sregs(const kvm_sregs& sregs) {
    return set_state(fd_.get(), KVM_SET_SREGS, sregs, "KVM_SET_SREGS");
}
Result<> Vcpu::set_fpu(const kvm_fpu& fpu) {
    return set_state(fd_.get(), KVM_SET_FPU, fpu, "KVM_SET_FPU");
}
Result<kvm_lapic_state> Vcpu::lapic() const {
    return get_state<kvm_lapic_state>(fd_.get(), KVM_GET_LAPIC, "KVM_GET_LAPIC");
}
Result<> Vcpu::set_lapic(const kvm_lapic_state& lapic) {
    return set_state(fd_.get(), KVM_SET_LAPIC, lapic, "KVM_SET_LAPIC");
}
Result<> Vcpu::set_mp_state(std::uint32_t state) {
    return set_state(fd_.get(), KVM_SET_MP_STATE, kvm_mp_state{.mp_state = state}, "KVM_SET_MP_STATE");
}

}  // namespace hako::kvm
