// Slows all vCPUs down, so that a migration catches up with what they write.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace hako {

class VcpuThread;

/// Takes vCPUs a share of their time, in slices that a guest's timers survive. Has a thread while it brakes.
class CpuBrake {
  public:
    /// They outlive it.
    explicit CpuBrake(std::vector<VcpuThread*> vcpus) : vcpus_(std::move(vcpus)) {}
    CpuBrake(const CpuBrake&) = delete;
    CpuBrake& operator=(const CpuBrake&) = delete;
    ~CpuBrake() { set(0); }

    /// `percent` of each vCPU's time is lost from now on, 0 to 99. One caller at a time.
    void set(unsigned percent);

  private:
    void brake();

    const std::vector<VcpuThread*> vcpus_;
    std::mutex mutex_;
    std::condition_variable changed_;
    unsigned percent_ = 0;
    std::thread thread_;
};

}  // namespace hako
