// The guest's time, saved and set again: kvmclock for the VM, and from it the TSC of each vCPU.
//
// Rules (Linux: Documentation/virt/kvm/devices/vcpu.rst, 4.1). A moment is three clocks read at once: the
// guest's, the host's TSC and the wall clock. On restore the guest's clock is SET first and then read, since
// KVM tells the host's TSC only once the clock was set or a vCPU ran; and every vCPU's TSC offset follows
// from the two moments by one formula, so that vCPUs that agreed go on agreeing (else KVM gives up its shared
// clock page and the guest's gettimeofday becomes slow).
#pragma once

#include <cstdint>

#include "vmm/base/result.h"
#include "vmm/kvm/vm.h"
#include "vmm/state/fields.h"

namespace hako::kvm {

/// One moment.
struct ClockState {
    std::uint64_t guest = 0;     ///< kvmclock, nanoseconds
    std::uint64_t realtime = 0;  ///< of the host, nanoseconds since 1970 (UTC)
    std::uint64_t host_tsc = 0;
    std::uint32_t flags = 0;  ///< KVM_CLOCK_*: what KVM itself told; the rest hako read next to it

    bool operator==(const ClockState&) const = default;
};

/// What the guest's clock does over the time in which the VM was not there.
enum class Downtime : std::uint8_t {
    kCounts,   ///< it goes on with the wall clock: the guest's time of day is right, and timers that are due
               ///< fire
    kLeftOut,  ///< it goes on from where it stopped
};

/// Now. The vCPUs exist and do not run.
Result<ClockState> read_clock(const Vm& vm);
/// Sets the guest's clock from that moment on; returns the moment in which it was set. The vCPUs exist, since
/// KVM shares a clock between those it has, and have not run.
Result<ClockState> restore_clock(Vm& vm, const ClockState& saved, Downtime downtime);

/// A vCPU's TSC offset at `now`, if it was `saved_offset` at `saved` and the guest's TSC ticks `khz` times a
/// millisecond of its clock. Modulo 2^64.
[[nodiscard]] std::uint64_t tsc_offset(std::uint64_t saved_offset, const ClockState& saved,
                                       const ClockState& now, std::uint32_t khz);
/// What the TSC has counted between the two moments of the guest's clock; negative if that went back.
[[nodiscard]] std::int64_t tsc_ticks(const ClockState& saved, const ClockState& now, std::uint32_t khz);

/// Whether nobody notices the difference: 250 parts per million, as clocks drift anyway. 0 is not known.
[[nodiscard]] bool same_rate(std::uint32_t khz, std::uint32_t other_khz);

}  // namespace hako::kvm

namespace hako::state {

template <>
struct Fields<kvm::ClockState> {
    using T = kvm::ClockState;
    static constexpr auto list = std::tuple(field("guest", &T::guest), field("realtime", &T::realtime),
                                            field("host_tsc", &T::host_tsc), hex("flags", &T::flags));
};

}  // namespace hako::state
