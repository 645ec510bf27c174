// How fast memory may go, over all connections; can be changed while it goes.
#pragma once

#include <mutex>

#include "migration/transport/wait.h"
#include "vmm/io/rate_limiter.h"

namespace hako::migration {

/// Any thread.
class BandwidthLimit {
  public:
    /// Bytes a second; 0: no limit.
    explicit BandwidthLimit(std::uint64_t bytes_per_second = 0);

    void set(std::uint64_t bytes_per_second);
    /// Waits until `bytes` more may go. A changed limit is noticed within 0.1 s.
    Outcome<> acquire(std::uint64_t bytes, const Stop* stop);
    /// The same in two steps, for who has something else to do meanwhile: how long until more may go, and
    /// what went.
    std::chrono::nanoseconds wait_for_some();
    void take(std::uint64_t bytes);

  private:
    std::mutex mutex_;
    io::TokenBucket bucket_;
};

}  // namespace hako::migration
