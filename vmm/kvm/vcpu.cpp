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

/// MSRs that a KVM_GET_MSRS or KVM_SET_MSRS call carries here; more go in several calls.
constexpr std::size_t kMsrBatch = 64;
constexpr std::uint32_t kMaxCpuidEntries = 256;

kvm_device_attr tsc_offset_attribute(std::uint64_t& offset) {
    return {.flags = 0,
            .group = KVM_VCPU_TSC_CTRL,
            .attr = KVM_VCPU_TSC_OFFSET,
            .addr = reinterpret_cast<std::uint64_t>(&offset)};
}

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

Result<std::vector<kvm_cpuid_entry2>> Vcpu::cpuid() const {
    const auto cpuid = make_flexible<kvm_cpuid2, kvm_cpuid_entry2>(kMaxCpuidEntries);
    cpuid->nent = kMaxCpuidEntries;
    if (ioctl_retry(fd_.get(), KVM_GET_CPUID2, cpuid.get()) < 0) return fail_errno(errno, "KVM_GET_CPUID2");
    return std::vector(cpuid->entries, cpuid->entries + std::min(cpuid->nent, kMaxCpuidEntries));
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

Result<MsrValues> Vcpu::msrs(std::span<const std::uint32_t> indices) const {
    MsrValues result;
    while (!indices.empty()) {
        const std::size_t count = std::min(indices.size(), kMsrBatch);
        const auto batch = make_flexible<kvm_msrs, kvm_msr_entry>(count);
        batch->nmsrs = static_cast<std::uint32_t>(count);
        for (std::size_t i = 0; i < count; ++i)
            batch->entries[i].index = indices[i];
        const int done = ioctl_retry(fd_.get(), KVM_GET_MSRS, batch.get());
        if (done < 0) return fail_errno(errno, "KVM_GET_MSRS");
        std::size_t consumed = std::min(static_cast<std::size_t>(done), count);
        for (std::size_t i = 0; i < consumed; ++i)
            result.values.push_back({.index = batch->entries[i].index, .value = batch->entries[i].data});
        if (consumed < count) result.refused.push_back(indices[consumed++]);
        indices = indices.subspan(consumed);
    }
    return result;
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
Result<kvm_sregs2> Vcpu::sregs2() const {
    return get_state<kvm_sregs2>(fd_.get(), KVM_GET_SREGS2, "KVM_GET_SREGS2");
}
Result<> Vcpu::set_sregs2(const kvm_sregs2& sregs) {
    return set_state(fd_.get(), KVM_SET_SREGS2, sregs, "KVM_SET_SREGS2");
}
Result<> Vcpu::set_fpu(const kvm_fpu& fpu) {
    return set_state(fd_.get(), KVM_SET_FPU, fpu, "KVM_SET_FPU");
}
Result<std::vector<std::uint8_t>> Vcpu::xsave(std::size_t size) const {
    std::vector<std::uint8_t> area(std::max(size, sizeof(kvm_xsave)));
    const bool large = area.size() > sizeof(kvm_xsave);
    if (ioctl_retry(fd_.get(), large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, area.data()) < 0)
        return fail_errno(errno, "{}", large ? "KVM_GET_XSAVE2" : "KVM_GET_XSAVE");
    return area;
}
Result<> Vcpu::set_xsave(std::span<const std::uint8_t> area) {
    if (ioctl_retry(fd_.get(), KVM_SET_XSAVE, area.data()) < 0) return fail_errno(errno, "KVM_SET_XSAVE");
    return {};
}
Result<kvm_xcrs> Vcpu::xcrs() const {
    return get_state<kvm_xcrs>(fd_.get(), KVM_GET_XCRS, "KVM_GET_XCRS");
}
Result<> Vcpu::set_xcrs(const kvm_xcrs& xcrs) {
    return set_state(fd_.get(), KVM_SET_XCRS, xcrs, "KVM_SET_XCRS");
}
Result<kvm_debugregs> Vcpu::debugregs() const {
    return get_state<kvm_debugregs>(fd_.get(), KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS");
}
Result<> Vcpu::set_debugregs(const kvm_debugregs& registers) {
    return set_state(fd_.get(), KVM_SET_DEBUGREGS, registers, "KVM_SET_DEBUGREGS");
}
Result<kvm_lapic_state> Vcpu::lapic() const {
    return get_state<kvm_lapic_state>(fd_.get(), KVM_GET_LAPIC, "KVM_GET_LAPIC");
}
Result<> Vcpu::set_lapic(const kvm_lapic_state& lapic) {
    return set_state(fd_.get(), KVM_SET_LAPIC, lapic, "KVM_SET_LAPIC");
}
Result<std::uint32_t> Vcpu::mp_state() const {
    const kvm_mp_state state =
        HAKO_TRY(get_state<kvm_mp_state>(fd_.get(), KVM_GET_MP_STATE, "KVM_GET_MP_STATE"));
    return state.mp_state;
}
Result<> Vcpu::set_mp_state(std::uint32_t state) {
    return set_state(fd_.get(), KVM_SET_MP_STATE, kvm_mp_state{.mp_state = state}, "KVM_SET_MP_STATE");
}
Result<kvm_vcpu_events> Vcpu::events() const {
    return get_state<kvm_vcpu_events>(fd_.get(), KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
}
Result<> Vcpu::set_events(const kvm_vcpu_events& events) {
    return set_state(fd_.get(), KVM_SET_VCPU_EVENTS, events, "KVM_SET_VCPU_EVENTS");
}

std::uint32_t Vcpu::tsc_khz() const {
    const int khz = ioctl_retry(fd_.get(), KVM_GET_TSC_KHZ, 0);
    return khz > 0 ? static_cast<std::uint32_t>(khz) : 0;
}

Result<> Vcpu::set_tsc_khz(std::uint32_t khz) {
    if (ioctl_retry(fd_.get(), KVM_SET_TSC_KHZ, static_cast<unsigned long>(khz)) < 0)
        return fail_errno(errno, "KVM_SET_TSC_KHZ {}", khz);
    return {};
}

std::optional<std::uint64_t> Vcpu::tsc_offset() const {
    std::uint64_t offset = 0;
    const kvm_device_attr attribute = tsc_offset_attribute(offset);
    if (ioctl_retry(fd_.get(), KVM_GET_DEVICE_ATTR, &attribute) < 0) return std::nullopt;
    return offset;
}

Result<> Vcpu::set_tsc_offset(std::uint64_t offset) {
    const kvm_device_attr attribute = tsc_offset_attribute(offset);
    if (ioctl_retry(fd_.get(), KVM_SET_DEVICE_ATTR, &attribute) < 0)
        return fail_errno(errno, "KVM_VCPU_TSC_OFFSET");
    return {};
}

void Vcpu::note_stopped() {
    ioctl_retry(fd_.get(), KVM_KVMCLOCK_CTRL, 0);
}

}  // namespace hako::kvm
