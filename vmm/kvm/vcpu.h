// One KVM vCPU: its kvm_run page and register state. No policy.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/kvm/uapi.h"

namespace hako::kvm {

/// The value of one model-specific register.
struct Msr {
    std::uint32_t index = 0;
    std::uint64_t value = 0;

    bool operator==(const Msr&) const = default;
};

/// What KVM_GET_MSRS gave.
struct MsrValues {
    std::vector<Msr> values;
    std::vector<std::uint32_t> refused;  ///< indices that KVM does not read
};

/// Owns a vCPU's file descriptor and kvm_run mapping. Used by its own thread, but for request_exit().
class Vcpu {
  public:
    /// Takes over the descriptor that KVM_CREATE_VCPU returned.
    static Result<Vcpu> adopt(Fd fd, std::size_t mmap_size, std::uint32_t id);
    Vcpu(Vcpu&& other) noexcept;
    Vcpu& operator=(Vcpu&&) = delete;
    ~Vcpu();

    [[nodiscard]] std::uint32_t id() const { return id_; }
    /// The page shared with the kernel: exit_reason and the data of the exit.
    [[nodiscard]] kvm_run& run_page() { return *run_; }
    [[nodiscard]] std::span<std::byte> pio_data();

    enum class RunStatus {
        kExit,         ///< run_page().exit_reason says why
        kInterrupted,  ///< a signal or immediate_exit: pending PIO and MMIO are finished
    };
    /// KVM_RUN.
    Result<RunStatus> run();
    /// Makes the current or the next run() return kInterrupted at once. Async-signal-safe.
    void request_exit() { __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST); }
    void clear_exit_request() { __atomic_store_n(&run_->immediate_exit, 0, __ATOMIC_SEQ_CST); }

    Result<> set_cpuid(std::span<const kvm_cpuid_entry2> entries);
    /// As set, but for the bits that follow CR4 and XCR0.
    [[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> cpuid() const;
    /// Sets MSRs in one batch and, where KVM stops at one, names it and goes on behind it.
    /// Returns the indices that this host refused.
    Result<std::vector<std::uint32_t>> set_msrs(std::span<const Msr> msrs);
    /// Reads MSRs in batches and, where KVM stops at one, names it and goes on behind it.
    [[nodiscard]] Result<MsrValues> msrs(std::span<const std::uint32_t> indices) const;
    [[nodiscard]] Result<kvm_regs> regs() const;
    Result<> set_regs(const kvm_regs& regs);
    [[nodiscard]] Result<kvm_sregs> sregs() const;
    Result<> set_sregs(const kvm_sregs& sregs);
    /// With the PDPTRs, which KVM_GET_SREGS leaves out (KVM_CAP_SREGS2).
    [[nodiscard]] Result<kvm_sregs2> sregs2() const;
    Result<> set_sregs2(const kvm_sregs2& sregs);
    Result<> set_fpu(const kvm_fpu& fpu);
    /// x87, SSE, AVX and more, in XSAVE's standard format: 4096 bytes, or Vm::xsave_size() if that is more.
    [[nodiscard]] Result<std::vector<std::uint8_t>> xsave(std::size_t size) const;
    /// Takes as many bytes as Vm::xsave_size() says.
    Result<> set_xsave(std::span<const std::uint8_t> area);
    [[nodiscard]] Result<kvm_xcrs> xcrs() const;
    Result<> set_xcrs(const kvm_xcrs& xcrs);
    [[nodiscard]] Result<kvm_debugregs> debugregs() const;
    Result<> set_debugregs(const kvm_debugregs& registers);
    [[nodiscard]] Result<kvm_lapic_state> lapic() const;
    Result<> set_lapic(const kvm_lapic_state& lapic);
    /// KVM_MP_STATE_*.
    [[nodiscard]] Result<std::uint32_t> mp_state() const;
    Result<> set_mp_state(std::uint32_t state);
    /// Exceptions, interrupts and NMIs on their way in.
    [[nodiscard]] Result<kvm_vcpu_events> events() const;
    Result<> set_events(const kvm_vcpu_events& events);

    /// KVM_GET_TSC_KHZ, or 0 if this host does not tell.
    [[nodiscard]] std::uint32_t tsc_khz() const;
    Result<> set_tsc_khz(std::uint32_t khz);
    /// KVM_VCPU_TSC_OFFSET: guest TSC minus host TSC, modulo 2^64; nothing where KVM does not have it.
    [[nodiscard]] std::optional<std::uint64_t> tsc_offset() const;
    Result<> set_tsc_offset(std::uint64_t offset);
    /// KVM_KVMCLOCK_CTRL: tells the guest that it was stopped, lest it take its own pause for a hang. A guest
    /// without kvmclock has no use for it.
    void note_stopped();

  private:
    Vcpu(Fd fd, kvm_run* run, std::size_t mmap_size, std::uint32_t id)
        : fd_(std::move(fd)), run_(run), mmap_size_(mmap_size), id_(id) {}

    Fd fd_;
    kvm_run* run_;
    std::size_t mmap_size_;
    std::uint32_t id_;
};

}  // namespace hako::kvm
