// Holds the queues of a device to its limits: requests beyond them wait in the virtqueue.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "virtio/metric_counter.h"
#include "vmm/io/engine.h"
#include "vmm/io/rate_limiter.h"
#include "vmm/io/timer.h"

namespace hako::virtio {

/// The clock of a limiter.
using Clock = io::Time (*)();

/// One rate limiter and one timeout for any number of queues of one engine.
///
/// A queue asks admit() before it takes a request that is there. Refused, it returns from its run_batch() and
/// is run again when there are tokens: all that wait then, the one that went first last time at the end. What
/// a request costs is known only when it was taken, so the last one may owe; the next waits for that too.
/// Outlives resets, so that a guest gains no burst by one. io thread only, except where it says otherwise.
class Throttle final : public io::BatchWork {
  public:
    /// At most `queues` wait. Any thread.
    Throttle(io::Engine& engine, const io::RateLimits& limits, std::size_t queues,
             Clock now = std::chrono::steady_clock::now);
    Throttle(const Throttle&) = delete;
    Throttle& operator=(const Throttle&) = delete;
    /// No queue waits any more. Any thread.
    ~Throttle() override;

    [[nodiscard]] bool limited() const { return limiter_.limited(); }
    /// Whether `queue` may take a request now. If not it waits, which `throttled` counts.
    [[nodiscard]] bool admit(BatchWork& queue, MetricCounter& throttled);
    /// How many operations on `bytes` bytes each there are tokens for; at least 1.
    [[nodiscard]] std::uint64_t room(std::uint64_t bytes);
    /// Whether there are tokens beyond those for that many operations on so many bytes in all.
    [[nodiscard]] bool covers(std::uint64_t operations, std::uint64_t bytes);
    /// Accounts for an operation.
    void take(std::uint64_t bytes);
    /// Accounts for bytes of an operation that was counted.
    void take_bytes(std::uint64_t bytes);
    /// `queue` waits no longer: it is paused, or goes.
    void leave(BatchWork& queue);
    /// Lets all that wait ask again, at once.
    void wake();
    /// Goes faster or slower from now on, also for those that wait.
    void set_limits(const io::RateLimits& limits);

    void run_batch() override;

  private:
    void wait(std::chrono::nanoseconds time);
    void release();

    io::Engine& engine_;
    io::RateLimiter limiter_;
    const Clock now_;
    io::Timer timer_;
    bool holding_ = false;             ///< no tokens until the timer is over: nobody need ask
    std::vector<BatchWork*> waiting_;  ///< in the order they came; never grows beyond its first capacity
    std::vector<BatchWork*> waking_;
};

}  // namespace hako::virtio
