// What a balloon did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "virtio/metric_counter.h"

namespace hako::virtio::balloon {

/// Of one queue at one moment.
struct Metrics {
    std::uint64_t requests = 0;
    std::uint64_t pages = 0;      ///< that they named and that are guest memory
    std::uint64_t discarded = 0;  ///< of them given back to the host
    std::uint64_t errors = 0;     ///< pages that are not guest memory, buffers that are no request
    std::uint64_t interrupts = 0;

    bool operator==(const Metrics&) const = default;
};

/// The live counters of one queue.
struct QueueMetrics {
    MetricCounter requests;
    MetricCounter pages;
    MetricCounter discarded;
    MetricCounter errors;
    MetricCounter interrupts;

    [[nodiscard]] Metrics values() const {
        return {.requests = requests.get(),
                .pages = pages.get(),
                .discarded = discarded.get(),
                .errors = errors.get(),
                .interrupts = interrupts.get()};
    }
};

}  // namespace hako::virtio::balloon
