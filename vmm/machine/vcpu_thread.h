// The thread of one vCPU: KVM_RUN, exits to the buses, park and go.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "vmm/bus/bus.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/machine/vcpu_metrics.h"

namespace hako {

/// Why a vCPU can never run again.
struct VcpuStop {
    enum class Kind {
        kTripleFault,  ///< KVM_EXIT_SHUTDOWN
        kKvmError,     ///< KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_FAIL_ENTRY, an exit hako does not know, KVM_RUN
                       ///< failed
    };
    Kind kind = Kind::kKvmError;
    std::string detail;  ///< one line
};

/// Runs a vCPU on a thread of its own, named vcpu<id>. It starts out parked.
///
/// Parked means: out of KVM_RUN with the last exit's PIO or MMIO finished, so that state can be read.
/// The methods are for the control thread.
class VcpuThread {
  public:
    /// `on_stop` is called once, on the vCPU's thread, if it can run no further; `on_full_ring`, there as
    /// well, whenever its dirty ring needs room. The buses outlive the thread.
    VcpuThread(kvm::Vcpu vcpu, Bus& pio, Bus& mmio, std::function<void(const VcpuStop&)> on_stop,
               std::function<void()> on_full_ring);
    VcpuThread(const VcpuThread&) = delete;
    VcpuThread& operator=(const VcpuThread&) = delete;
    ~VcpuThread();

    /// Ends the thread and gives the vCPU back, parked. Nothing else may be called afterwards.
    [[nodiscard]] kvm::Vcpu end();

    void resume();
    /// Asks it to park; wait_parked() waits for it. Apart, so that many vCPUs park at the same time.
    void request_park();
    void wait_parked();

    /// From now on it does nothing for that long, unless it is to park. Any thread.
    void stand_still(std::chrono::nanoseconds time);

    /// The vCPU, to read or set its state while parked.
    [[nodiscard]] kvm::Vcpu& vcpu() { return vcpu_; }
    /// Exits to hako so far. Any thread.
    [[nodiscard]] std::uint64_t exits() const { return exits_.total(); }
    /// What it did so far. Any thread.
    [[nodiscard]] VcpuMetrics metrics();

  private:
    enum class Wish { kPark, kRun, kEnd };

    void set_wish(Wish wish);
    void join();
    void kick();
    void wait_while_still();
    void thread_main();
    /// Runs until somebody wishes otherwise; the reason if it never can again.
    std::optional<VcpuStop> run_guest();
    std::optional<VcpuStop> handle_exit();
    void handle_pio();
    void handle_mmio();

    kvm::Vcpu vcpu_;
    Bus& pio_;
    Bus& mmio_;
    std::function<void(const VcpuStop&)> on_stop_;
    std::function<void()> on_full_ring_;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<Wish> wish_{Wish::kPark};                ///< written under mutex_
    bool parked_ = true;                                 ///< under mutex_
    std::chrono::steady_clock::time_point still_until_;  ///< under mutex_
    VcpuExits exits_;
    std::thread thread_;
};

}  // namespace hako
