// Wakes a piece of batch work after a time: a timeout in the ring.
#pragma once

#include <chrono>

#include "vmm/io/engine.h"

namespace hako::io {

/// A one-shot timeout on the monotonic clock. Schedules `work` when it is over, however it ended. io thread
/// only.
class Timer final : public Completion {
  public:
    /// All must outlive the timer.
    Timer(Engine& engine, BatchWork& work) : engine_(engine), work_(work) {}
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    /// Starts; not while active().
    void start(std::chrono::nanoseconds delay);
    /// Asks for an early end. Until active() is false this must live.
    void stop();
    [[nodiscard]] bool active() const { return active_; }

    void complete(std::int32_t result, std::uint32_t flags) override;

  private:
    Engine& engine_;
    BatchWork& work_;
    __kernel_timespec delay_{};  ///< read by the kernel when the SQE is submitted
    bool active_ = false;
    bool stopping_ = false;
};

}  // namespace hako::io
