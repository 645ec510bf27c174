#include "vmm/machine/vcpu_thread.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <optional>

#include "vmm/base/log.h"

namespace hako {
namespace {

/// Takes a vCPU out of KVM_RUN. The handler does nothing: interrupting the system call is the point.
int kick_signal() {
    return SIGRTMIN;
}

void install_kick_handler() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action{};
        action.sa_handler = [](int) {};
        ::sigaction(kick_signal(), &action, nullptr);
    });
}

/// vCPU threads take the kick and nothing else: signals of the process are the control thread's.
void block_other_signals() {
    sigset_t blocked;
    sigfillset(&blocked);
    sigdelset(&blocked, kick_signal());
    ::pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
}

VcpuStop kvm_error(std::string detail) {
    return {VcpuStop::Kind::kKvmError, std::move(detail)};
}

VcpuStop internal_error(const kvm_run& run, const kvm::Vcpu& vcpu) {
    const char* reason = "unknown suberror";
    switch (run.internal.suberror) {
        case KVM_INTERNAL_ERROR_EMULATION:
            reason = "an instruction that KVM cannot emulate";
            break;
        case KVM_INTERNAL_ERROR_SIMUL_EX:
            reason = "an exception while delivering another";
            break;
        case KVM_INTERNAL_ERROR_DELIVERY_EV:
            reason = "an unexpected exit while delivering an event";
            break;
        case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
            reason = "an exit that KVM does not expect";
            break;
        default:
            break;
    }
    std::string where;
    if (const auto regs = vcpu.regs()) where = fmt::format(" at rip {:#x}", regs->rip);
    return kvm_error(fmt::format("KVM internal error {} on vCPU {}{}: {}", run.internal.suberror, vcpu.id(),
                                 where, reason));
}

}  // namespace

VcpuThread::VcpuThread(kvm::Vcpu vcpu, Bus& pio, Bus& mmio, std::function<void(const VcpuStop&)> on_stop,
                       std::function<void()> on_full_ring)
    : vcpu_(std::move(vcpu)),
      pio_(pio),
      mmio_(mmio),
      on_stop_(std::move(on_stop)),
      on_full_ring_(std::move(on_full_ring)) {
    install_kick_handler();
    thread_ = std::thread([this] { thread_main(); });
    ::pthread_setname_np(thread_.native_handle(), fmt::format("vcpu{}", vcpu_.id()).c_str());
}

VcpuThread::~VcpuThread() {
    join();
}

void VcpuThread::join() {
    if (!thread_.joinable()) return;
    set_wish(Wish::kEnd);
    kick();
    thread_.join();
}

kvm::Vcpu VcpuThread::end() {
    join();
    return std::move(vcpu_);
}

void VcpuThread::resume() {
    set_wish(Wish::kRun);
}

void VcpuThread::request_park() {
    set_wish(Wish::kPark);
    kick();
}

void VcpuThread::wait_parked() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return parked_; });
}

VcpuMetrics VcpuThread::metrics() {
    VcpuMetrics metrics{.id = vcpu_.id(), .exits = exits_.values(), .cpu_time = {}};
    clockid_t clock{};
    timespec time{};
    if (::pthread_getcpuclockid(thread_.native_handle(), &clock) == 0 && ::clock_gettime(clock, &time) == 0)
        metrics.cpu_time = std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    return metrics;
}

void VcpuThread::set_wish(Wish wish) {
    const std::lock_guard lock(mutex_);
    wish_.store(wish);
    changed_.notify_all();
}

void VcpuThread::kick() {
    // The flag covers the moment between the look at wish_ and KVM_RUN, the signal covers KVM_RUN itself.
    vcpu_.request_exit();
    ::pthread_kill(thread_.native_handle(), kick_signal());
}

void VcpuThread::stand_still(std::chrono::nanoseconds time) {
    {
        const std::lock_guard lock(mutex_);
        still_until_ = std::chrono::steady_clock::now() + time;
    }
    kick();
}

void VcpuThread::wait_while_still() {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, still_until_, [this] { return wish_ != Wish::kRun; });
}

void VcpuThread::thread_main() {
    block_other_signals();
    bool stopped = false;
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            parked_ = true;
            changed_.notify_all();
            // A vCPU that stopped for good stays parked until the end.
            changed_.wait(lock, [&] { return wish_ == Wish::kEnd || (wish_ == Wish::kRun && !stopped); });
            if (wish_ == Wish::kEnd) return;
            parked_ = false;
        }
        if (const auto stop = run_guest()) {
            stopped = true;
            on_stop_(*stop);
        }
    }
}

std::optional<VcpuStop> VcpuThread::run_guest() {
    for (;;) {
        const auto status = vcpu_.run();
        if (!status) return kvm_error(status.error().text());
        if (*status == kvm::Vcpu::RunStatus::kInterrupted) {
            exits_.count_signal();
            // Clear first, look second: a wish that comes in between sets the flag again.
            vcpu_.clear_exit_request();
            if (wish_.load() != Wish::kRun) return std::nullopt;
            wait_while_still();
            continue;
        }
        // No parking here: the exit's result enters the vCPU at the next KVM_RUN, which a pending
        // request_exit() ends at once.
        exits_.count(vcpu_.run_page().exit_reason);
        if (auto stop = handle_exit()) return stop;
    }
}

std::optional<VcpuStop> VcpuThread::handle_exit() {
    const kvm_run& run = vcpu_.run_page();
    switch (run.exit_reason) {
        case KVM_EXIT_IO:
            handle_pio();
            return std::nullopt;
        case KVM_EXIT_MMIO:
            handle_mmio();
            return std::nullopt;
        case KVM_EXIT_INTR:
        case KVM_EXIT_IRQ_WINDOW_OPEN:
            return std::nullopt;
        case KVM_EXIT_DIRTY_RING_FULL:
            on_full_ring_();
            return std::nullopt;
        case KVM_EXIT_SHUTDOWN: {
            std::string where;
            if (const auto regs = vcpu_.regs()) where = fmt::format(" at rip {:#x}", regs->rip);
            return VcpuStop{VcpuStop::Kind::kTripleFault,
                            fmt::format("triple fault on vCPU {}{}", vcpu_.id(), where)};
        }
        case KVM_EXIT_INTERNAL_ERROR:
            return internal_error(run, vcpu_);
        case KVM_EXIT_FAIL_ENTRY:
            return kvm_error(fmt::format("vCPU {} could not enter the guest: hardware reason {:#x}",
                                         vcpu_.id(), run.fail_entry.hardware_entry_failure_reason));
        default:
            return kvm_error(fmt::format("vCPU {} left KVM_RUN for a reason hako does not know: {}",
                                         vcpu_.id(), run.exit_reason));
    }
}

void VcpuThread::handle_pio() {
    const auto& io = vcpu_.run_page().io;
    const std::span<std::byte> data = vcpu_.pio_data();
    // INS and OUTS bring several items of the same size for the same port.
    for (std::size_t i = 0; i < io.count; ++i) {
        const auto item = data.subspan(i * io.size, io.size);
        if (io.direction == KVM_EXIT_IO_OUT) {
            pio_.write(io.port, item);
        } else {
            pio_.read(io.port, item);
        }
    }
}

void VcpuThread::handle_mmio() {
    auto& mmio = vcpu_.run_page().mmio;
    const auto data = std::as_writable_bytes(std::span(mmio.data)).first(std::min<std::size_t>(mmio.len, 8));
    if (mmio.is_write != 0) {
        mmio_.write(mmio.phys_addr, data);
    } else {
        mmio_.read(mmio.phys_addr, data);
    }
}

}  // namespace hako
