// Where an entropy device's bytes come from, and how fast they may.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>

#include "vmm/io/rate_limiter.h"

namespace hako::virtio::rng {

/// What the device's queue works with. Outlives a reset, so that a guest gains no burst by one. io thread
/// only.
struct Backend {
    io::RateLimiter limiter;
    /// The clock of the limiter.
    io::Time (*now)() = std::chrono::steady_clock::now;
    /// As getrandom(2).
    ssize_t (*random)(void* buffer, std::size_t length, unsigned flags);
    bool broken = false;  ///< the queue broke the rules: it stops until reset
};

}  // namespace hako::virtio::rng
