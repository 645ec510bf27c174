#include "vmm/kvm/clock.h"

#include <doctest/doctest.h>

#include "vmm/kvm/msr_list.h"

using namespace hako;
using namespace hako::kvm;

namespace {

constexpr std::uint32_t kKhz = 2'500'000;
constexpr ClockState kSaved{.guest = 10'000'000'000, .realtime = 1, .host_tsc = 1'000'000'000'000};

std::uint64_t guest_tsc(const ClockState& moment, std::uint64_t offset) {
    return moment.host_tsc + offset;
}

}  // namespace

TEST_CASE("the guest's TSC goes on by what its clock went on") {
    const std::uint64_t offset = 0 - std::uint64_t{900'000'000'000};
    // Another host: its TSC is elsewhere, and the guest's clock was set 3 s later.
    const ClockState now{.guest = kSaved.guest + 3'000'000'000, .realtime = 1, .host_tsc = 77};
    const std::uint64_t moved = tsc_offset(offset, kSaved, now, kKhz);
    CHECK(guest_tsc(now, moved) - guest_tsc(kSaved, offset) == 3 * std::uint64_t{kKhz} * 1000);
    // The same for a clock that stood still, and for one that was set back a little.
    const ClockState still{.guest = kSaved.guest, .realtime = 1, .host_tsc = 5'000'000};
    CHECK(guest_tsc(still, tsc_offset(offset, kSaved, still, kKhz)) == guest_tsc(kSaved, offset));
    const ClockState back{.guest = kSaved.guest - 1000, .realtime = 1, .host_tsc = 0};
    CHECK(tsc_ticks(kSaved, back, kKhz) == -2500);
}

TEST_CASE("on the same host nothing changes while the clock counts") {
    const ClockState now{
        .guest = kSaved.guest + 1'000'000, .realtime = 1, .host_tsc = kSaved.host_tsc + std::uint64_t{kKhz}};
    CHECK(tsc_offset(1234, kSaved, now, kKhz) == 1234);
}

TEST_CASE("vCPUs that agreed go on agreeing, and years do not overflow") {
    const ClockState later{.guest = kSaved.guest + std::uint64_t{20} * 365 * 86400 * 1'000'000'000,
                           .realtime = 1,
                           .host_tsc = 42};
    CHECK(tsc_offset(7, kSaved, later, kKhz) == tsc_offset(7, kSaved, later, kKhz));
    CHECK(tsc_ticks(kSaved, later, kKhz) == std::int64_t{20} * 365 * 86400 * kKhz * 1000);
}

TEST_CASE("rates within 250 parts per million are the same, and so is one that is not known") {
    CHECK(same_rate(1'000'000, 1'000'250));
    CHECK(same_rate(1'000'250, 1'000'000));
    CHECK_FALSE(same_rate(1'000'000, 1'000'251));
    CHECK(same_rate(0, 5));
    CHECK(same_rate(5, 0));
}

TEST_CASE("MSRs are restored in an order: what locks first, the deadline last") {
    const std::vector<Msr> given = {
        {msr::kTscDeadline, 1}, {0x174, 2}, {msr::kTsc, 3}, {msr::kFeatureControl, 4}};
    const std::vector<Msr> wanted = {
        {msr::kFeatureControl, 4}, {0x174, 2}, {msr::kTsc, 3}, {msr::kTscDeadline, 1}};
    CHECK(in_restore_order(given) == wanted);
}

TEST_CASE("MTRRs are state though KVM's list lacks them, Hyper-V's MSRs are not, and each comes once") {
    const auto all = select_msrs({0x40000020, 0x2ff, 0x10, 0x10});
    CHECK(all.size() == 16 + 12 + 1);
    CHECK(all.front() == 0x10);
    CHECK(all.back() == 0x2ff);
}
