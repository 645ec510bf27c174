#include "vmm/machine/cpu_brake.h"

#include <algorithm>
#include <chrono>

#include "vmm/machine/vcpu_thread.h"

namespace hako {
namespace {

/// A vCPU runs and stands still once in this time.
constexpr std::chrono::milliseconds kSlice{20};
constexpr unsigned kMost = 99;

}  // namespace

void CpuBrake::set(unsigned percent) {
    {
        const std::lock_guard lock(mutex_);
        percent_ = std::min(percent, kMost);
    }
    changed_.notify_all();
    if (percent == 0) {
        if (thread_.joinable()) thread_.join();
    } else if (!thread_.joinable()) {
        thread_ = std::thread([this] { brake(); });
    }
}

void CpuBrake::brake() {
    std::unique_lock lock(mutex_);
    while (percent_ > 0) {
        for (VcpuThread* const vcpu : vcpus_)
            vcpu->stand_still(kSlice * percent_ / 100);
        changed_.wait_for(lock, kSlice);
    }
}

}  // namespace hako
