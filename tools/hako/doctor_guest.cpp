#include "tools/hako/doctor_guest.h"

#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "vmm/base/units.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"
#include "vmm/memory/guest_memory.h"

// doctor_guest_code.S
extern "C" {
extern const std::byte hako_doctor_guest[];
extern const std::byte hako_doctor_guest_entry[];
extern const std::byte hako_doctor_guest_timer[];
extern const std::byte hako_doctor_guest_exceptions[];
extern const std::byte hako_doctor_guest_end[];
}

namespace hako::doctor {
namespace {

using std::chrono::steady_clock;

constexpr std::uint16_t kPortDone = 0xf4;
constexpr std::uint16_t kPortWrong = 0xf5;
constexpr std::uint64_t kTimerVector = 0x40;
constexpr std::uint64_t kExceptionStride = 16;
constexpr std::uint64_t kExceptions = 32;

// Guest-physical addresses; all below 2 MiB, which one large page maps onto itself.
constexpr std::uint64_t kPml4 = 0x1000;
constexpr std::uint64_t kPdpt = 0x2000;
constexpr std::uint64_t kPageDirectory = 0x3000;
constexpr std::uint64_t kGdt = 0x4000;
constexpr std::uint64_t kIdt = 0x5000;
constexpr std::uint64_t kStackTop = 0x8000;
constexpr std::uint64_t kCode = 0x10000;
constexpr std::uint64_t kReportException = kCode + 4;

// Pages that Intel hosts without "unrestricted guest" need, out of the guest's way.
constexpr std::uint64_t kIdentityMap = 0xfeffc000;
constexpr std::uint64_t kTss = 0xfeffd000;

constexpr std::uint16_t kCodeSelector = 0x08;
constexpr std::uint16_t kDataSelector = 0x10;

/// Interrupts that a signal did not stop at once are sent again this often.
constexpr auto kKickInterval = std::chrono::milliseconds(10);
/// How long a stopped guest's thread may take to come back.
constexpr auto kStopLimit = std::chrono::milliseconds(500);

std::uint64_t offset_of(const std::byte* symbol) {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(symbol) -
                                      reinterpret_cast<std::uintptr_t>(hako_doctor_guest));
}

/// Intel SDM volume 3, 6.14.1: a 64-bit interrupt gate.
std::array<std::uint64_t, 2> interrupt_gate(std::uint64_t handler) {
    constexpr std::uint64_t kPresentInterruptGate = 0x8e00;
    return {(handler & 0xffff) | (std::uint64_t{kCodeSelector} << 16) | (kPresentInterruptGate << 32) |
                ((handler >> 16 & 0xffff) << 48),
            handler >> 32};
}

Result<> load(GuestMemory& memory) {
    constexpr std::uint64_t kPresentWritable = 0x3;
    constexpr std::uint64_t kLargePage = 0x80;
    bool fits = true;
    const auto store = [&](std::uint64_t address, std::uint64_t value) {
        fits = memory.store(GuestAddress{address}, value) && fits;
    };
    store(kPml4, kPdpt | kPresentWritable);
    store(kPdpt, kPageDirectory | kPresentWritable);
    store(kPageDirectory, kPresentWritable | kLargePage);
    store(kGdt + kCodeSelector, 0x00af9b000000ffff);
    store(kGdt + kDataSelector, 0x00cf93000000ffff);
    const auto gate = [&](std::uint64_t vector, std::uint64_t handler) {
        const auto [low, high] = interrupt_gate(handler);
        store(kIdt + 16 * vector, low);
        store(kIdt + 16 * vector + 8, high);
    };
    for (std::uint64_t vector = 0; vector < kExceptions; ++vector)
        gate(vector, kCode + offset_of(hako_doctor_guest_exceptions) + vector * kExceptionStride);
    gate(kTimerVector, kCode + offset_of(hako_doctor_guest_timer));
    fits = memory.write(GuestAddress{kCode}, {hako_doctor_guest, offset_of(hako_doctor_guest_end)}) && fits;
    if (!fits) return fail_host("the test guest does not fit its memory");
    return {};
}

kvm_segment segment(std::uint16_t selector, std::uint8_t type) {
    kvm_segment result{};
    result.limit = 0xffffffff;
    result.selector = selector;
    result.type = type;
    result.present = 1;
    result.s = 1;
    result.g = 1;
    return result;
}

Result<> enter_long_mode(kvm::Vcpu& vcpu) {
    kvm_sregs sregs = HAKO_TRY(vcpu.sregs());
    sregs.cr0 = 0x80000033;  // PG, NE, ET, MP, PE
    sregs.cr3 = kPml4;
    sregs.cr4 = 0x20;    // PAE
    sregs.efer = 0x500;  // LME, LMA
    sregs.cs = segment(kCodeSelector, 0xb);
    sregs.cs.l = 1;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(kDataSelector, 0x3);
    sregs.ss.db = 1;
    // VM entry on Intel wants a 64-bit busy TSS; nothing uses it.
    sregs.tr = {};
    sregs.tr.limit = 0x67;
    sregs.tr.type = 0xb;
    sregs.tr.present = 1;
    sregs.gdt = {.base = kGdt, .limit = 0x17, .padding = {}};
    sregs.idt = {.base = kIdt, .limit = 16 * (kTimerVector + 1) - 1, .padding = {}};
    HAKO_TRY(vcpu.set_sregs(sregs));
    kvm_regs regs{};
    regs.rip = kCode + offset_of(hako_doctor_guest_entry);
    regs.rsp = kStackTop;
    regs.rflags = 2;
    return vcpu.set_regs(regs);
}

/// The VM and what its thread tells; shared, since a thread that KVM does not give back is left behind with
/// it.
struct Guest {
    GuestMemory memory;
    kvm::Vm vm;
    kvm::Vcpu vcpu;

    std::mutex mutex;
    std::condition_variable changed;
    bool finished = false;
    GuestRun run;

    Guest(GuestMemory memory_, kvm::Vm vm_, kvm::Vcpu vcpu_)
        : memory(std::move(memory_)), vm(std::move(vm_)), vcpu(std::move(vcpu_)) {}
};

Result<std::shared_ptr<Guest>> build_guest() {
    const kvm::System system = HAKO_TRY(kvm::System::open());
    kvm::Vm vm = HAKO_TRY(system.create_vm());
    MemoryConfig config;
    config.size = 2 * MiB;
    config.thp = false;
    GuestMemory memory = HAKO_TRY(GuestMemory::create(config));
    HAKO_TRY(load(memory));
    HAKO_TRY(vm.set_tss_and_identity_map(kTss, kIdentityMap));
    const MemoryRegion& region = memory.regions().front();
    HAKO_TRY(vm.set_memory_slot(0, 0, region.host, region.size, 0));
    HAKO_TRY(vm.create_irqchip());
    kvm::Vcpu vcpu = HAKO_TRY(vm.create_vcpu(0));
    const std::vector<kvm_cpuid_entry2> cpuid = HAKO_TRY(system.supported_cpuid());
    HAKO_TRY(vcpu.set_cpuid(cpuid));
    HAKO_TRY(enter_long_mode(vcpu));
    return std::make_shared<Guest>(std::move(memory), std::move(vm), std::move(vcpu));
}

/// What an exit means for the guest, or nothing if it is to go on.
std::optional<std::pair<GuestEnd, std::uint64_t>> read_exit(kvm::Vcpu& vcpu) {
    const kvm_run& page = vcpu.run_page();
    switch (page.exit_reason) {
        case KVM_EXIT_IO:
            if (page.io.direction == KVM_EXIT_IO_OUT && page.io.port == kPortDone)
                return {{GuestEnd::kDone, 0}};
            if (page.io.direction == KVM_EXIT_IO_OUT && page.io.port == kPortWrong)
                return {{GuestEnd::kWrongResult, 0}};
            break;
        case KVM_EXIT_INTR:
            return std::nullopt;
        case KVM_EXIT_INTERNAL_ERROR:
            return {{GuestEnd::kInternalError, page.internal.suberror}};
        case KVM_EXIT_SHUTDOWN:
            return {{GuestEnd::kTripleFault, 0}};
        case KVM_EXIT_FAIL_ENTRY:
            return {{GuestEnd::kEntryFailed, page.fail_entry.hardware_entry_failure_reason}};
        default:
            break;
    }
    return {{GuestEnd::kUnexpectedExit, page.exit_reason}};
}

/// Runs the vCPU to its end or to a request to stop, and fills in `run`.
GuestRun run_vcpu(Guest& guest) {
    GuestRun run;
    const auto start = steady_clock::now();
    while (true) {
        const auto status = guest.vcpu.run();
        if (!status) {
            run.error = status.error().text();
            break;
        }
        if (*status == kvm::Vcpu::RunStatus::kInterrupted) {
            // Also taken by a signal that was meant for somebody else; then it goes on.
            if (__atomic_load_n(&guest.vcpu.run_page().immediate_exit, __ATOMIC_SEQ_CST) == 0) continue;
            run.end = GuestEnd::kTimeLimit;
            break;
        }
        if (const auto end = read_exit(guest.vcpu)) {
            std::tie(run.end, run.detail) = *end;
            break;
        }
    }
    run.duration = std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - start);
    return run;
}

/// Adds what the guest wrote into its report.
void read_report(const GuestMemory& memory, GuestRun& run) {
    const auto step = memory.load<std::uint32_t>(GuestAddress{kCode}).value_or(0);
    run.step = static_cast<GuestStep>(std::min(step, static_cast<std::uint32_t>(GuestStep::kDone)));
    const auto exception = memory.load<std::uint32_t>(GuestAddress{kReportException}).value_or(0);
    if (run.end == GuestEnd::kWrongResult && exception != 0) {
        run.end = GuestEnd::kException;
        run.detail = exception - 1;
    }
}

/// SIGUSR2 interrupts system calls and does nothing else, while this lives.
class KickSignal {
  public:
    static constexpr int kNumber = SIGUSR2;

    KickSignal() {
        struct sigaction action{};
        action.sa_handler = [](int) {};
        ::sigaction(kNumber, &action, &before_);
    }
    KickSignal(const KickSignal&) = delete;
    KickSignal& operator=(const KickSignal&) = delete;
    ~KickSignal() { ::sigaction(kNumber, &before_, nullptr); }

  private:
    struct sigaction before_{};
};

GuestRun run_with_limit(const std::shared_ptr<Guest>& guest, std::chrono::milliseconds time_limit) {
    const KickSignal signal;
    std::thread thread([guest] {
        GuestRun run = run_vcpu(*guest);
        const std::lock_guard lock(guest->mutex);
        guest->run = std::move(run);
        guest->finished = true;
        guest->changed.notify_all();
    });
    std::unique_lock lock(guest->mutex);
    const auto finished = [&] { return guest->finished; };
    if (!guest->changed.wait_for(lock, time_limit, finished)) {
        guest->vcpu.request_exit();
        const auto give_up = steady_clock::now() + kStopLimit;
        do {
            ::pthread_kill(thread.native_handle(), KickSignal::kNumber);
        } while (!guest->changed.wait_for(lock, kKickInterval, finished) && steady_clock::now() < give_up);
    }
    GuestRun run = guest->run;
    if (guest->finished) {
        lock.unlock();
        thread.join();
    } else {
        run.end = GuestEnd::kUnstoppable;
        thread.detach();
    }
    read_report(guest->memory, run);
    return run;
}

std::string_view step_text(GuestStep step) {
    switch (step) {
        case GuestStep::kLongMode:
            return "code in long mode";
        case GuestStep::kCmpxchg16b:
            return "cmpxchg16b";
        case GuestStep::kXsave:
            return "xsave and xrstor";
        case GuestStep::kApicTimer:
            return "a local APIC timer interrupt";
        case GuestStep::kDone:
            break;
    }
    return "a port write";
}

constexpr std::string_view kOtherHost =
    "this host's KVM cannot run an unmodified kernel: use a host whose CPU's virtualisation KVM drives "
    "(kvm_intel or kvm_amd), or try hako in the lab: tools/lab run -- hako doctor";

}  // namespace

GuestRun run_test_guest(std::chrono::milliseconds time_limit) {
    GuestRun run;
    const auto guest = build_guest();
    if (guest) {
        run = run_with_limit(*guest, time_limit);
    } else {
        run.error = guest.error().text();
    }
    run.time_limit = time_limit;
    return run;
}

Check judge_guest(const GuestRun& run) {
    Check check{
        .name = "test guest", .status = Status::kFail, .found = {}, .advice = std::string(kOtherHost)};
    const std::string failed = fmt::format("this KVM cannot run {}", step_text(run.step));
    switch (run.end) {
        case GuestEnd::kDone:
            check.status = Status::kOk;
            check.found =
                fmt::format("ran cmpxchg16b, xsave, xrstor and a timer interrupt in long mode in {} us",
                            run.duration.count());
            check.advice.clear();
            break;
        case GuestEnd::kWrongResult:
            check.found = fmt::format("{}: the result is wrong", failed);
            break;
        case GuestEnd::kException:
            check.found = fmt::format("{}: the guest got exception {}{}", failed, run.detail,
                                      run.detail == 6 ? " (invalid opcode)" : "");
            break;
        case GuestEnd::kInternalError:
            check.found = fmt::format("{}: internal error, suberror {}{}", failed, run.detail,
                                      run.detail == KVM_INTERNAL_ERROR_EMULATION
                                          ? " (emulation failed: it emulates ring 0 instead of running it)"
                                          : "");
            break;
        case GuestEnd::kTripleFault:
            check.found = fmt::format("{}: the guest triple-faulted", failed);
            break;
        case GuestEnd::kEntryFailed:
            check.found =
                fmt::format("{}: the CPU refused to enter the guest, reason {:#x}", failed, run.detail);
            break;
        case GuestEnd::kUnexpectedExit:
            check.found = fmt::format("{}: unexpected exit reason {}", failed, run.detail);
            break;
        case GuestEnd::kTimeLimit:
            check.found = fmt::format("{}: stopped after {} ms", failed, run.time_limit.count());
            break;
        case GuestEnd::kUnstoppable:
            check.found =
                fmt::format("{}: after {} ms it could not even be stopped", failed, run.time_limit.count());
            break;
        case GuestEnd::kNotStarted:
            check.found = fmt::format("could not be run: {}", run.error);
            break;
    }
    return check;
}

}  // namespace hako::doctor
