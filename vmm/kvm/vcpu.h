// One KVM vCPU: its kvm_run page and register state. No policy.
#pragma once

#include <cstdint>
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
    /// Sets MSRs in one batch and, where KVM stops at one, names it and goes on behind it.
    /// Returns the indices that this host refused.
    Result<std::vector<std::uint32_t>> set_msrs(std::span<const Msr> msrs);
    [[nodiscard]] Result<kvm_regs> regs() const;
    Result<> set_regs(const kvm_regs& regs);
    [[nodiscard]] Result<kvm_sregs> sregs() const;
    Result<> set_sregs(const kvm_sregs& sregs);
    Result<> set_fpu(const kvm_fpu& fpu);
    [[nodiscard]] Result<kvm_lapic_state> lapic() const;
    Result<> set_lapic(const kvm_lapic_state& lapic);
    Result<> set_mp_state(std::uint32_t state);

  private:
    Vcpu(Fd fd, kvm_run* run, std::size_t mmap_size, std::uint32_t id)
        : fd_(std::move(fd)), run_(run), mmap_size_(mmap_size), id_(id) {}

    Fd fd_;
    kvm_run* run_;
    std::size_t mmap_size_;
    std::uint32_t id_;
};

}  // namespace hako::kvm
