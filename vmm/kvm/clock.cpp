#include "vmm/kvm/clock.h"

#include <time.h>
#include <x86intrin.h>

namespace hako::kvm {
namespace {

constexpr std::uint64_t kTolerance = 250;  // parts per million

std::uint64_t wall_clock() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Fills in what an older KVM does not tell. The microseconds between its clock and these two are the same at
/// both ends, near enough.
ClockState moment(const kvm_clock_data& data) {
    return {.guest = data.clock,
            .realtime = (data.flags & KVM_CLOCK_REALTIME) != 0 ? data.realtime : wall_clock(),
            .host_tsc = (data.flags & KVM_CLOCK_HOST_TSC) != 0 ? data.host_tsc : __rdtsc(),
            .flags = data.flags};
}

}  // namespace

Result<ClockState> read_clock(const Vm& vm) {
    return moment(HAKO_TRY(vm.clock()));
}

Result<ClockState> restore_clock(Vm& vm, const ClockState& saved, Downtime downtime) {
    kvm_clock_data data{};
    data.clock = saved.guest;
    const auto known = static_cast<std::uint32_t>(vm.extension(KVM_CAP_ADJUST_CLOCK));
    if (downtime == Downtime::kCounts) {
        if ((known & KVM_CLOCK_REALTIME) != 0) {
            // KVM adds the time since, if there is any: a wall clock that was put back turns nothing back.
            data.flags = KVM_CLOCK_REALTIME;
            data.realtime = saved.realtime;
        } else if (const std::uint64_t now = wall_clock(); now > saved.realtime) {
            data.clock += now - saved.realtime;
        }
    }
    HAKO_TRY(vm.set_clock(data));
    return read_clock(vm);
}

std::int64_t tsc_ticks(const ClockState& saved, const ClockState& now, std::uint32_t khz) {
    const auto nanoseconds = static_cast<std::int64_t>(now.guest - saved.guest);
    return static_cast<std::int64_t>(static_cast<__int128>(nanoseconds) * khz / 1'000'000);
}

std::uint64_t tsc_offset(std::uint64_t saved_offset, const ClockState& saved, const ClockState& now,
                         std::uint32_t khz) {
    return saved_offset + static_cast<std::uint64_t>(tsc_ticks(saved, now, khz)) + saved.host_tsc -
           now.host_tsc;
}

bool same_rate(std::uint32_t khz, std::uint32_t other_khz) {
    if (khz == 0 || other_khz == 0) return true;
    const std::uint64_t difference = khz > other_khz ? khz - other_khz : other_khz - khz;
    return difference * 1'000'000 <= std::uint64_t{khz} * kTolerance;
}

}  // namespace hako::kvm
