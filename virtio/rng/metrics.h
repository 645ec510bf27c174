// What an entropy device's queue did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "virtio/metric_counter.h"

namespace hako::virtio::rng {

/// Values at one moment.
struct Metrics {
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;
    std::uint64_t throttled = 0;  ///< waits for the rate limit
    std::uint64_t interrupts = 0;

    bool operator==(const Metrics&) const = default;
};

/// The live counters of one queue.
struct QueueMetrics {
    MetricCounter requests;
    MetricCounter bytes;
    MetricCounter throttled;
    MetricCounter interrupts;

    [[nodiscard]] Metrics values() const {
        return {.requests = requests.get(),
                .bytes = bytes.get(),
                .throttled = throttled.get(),
                .interrupts = interrupts.get()};
    }
};

}  // namespace hako::virtio::rng
