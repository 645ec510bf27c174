// What a console device's queue did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "virtio/metric_counter.h"

namespace hako::virtio::console {

/// Values at one moment.
struct Metrics {
    std::uint64_t chains = 0;  ///< that went through; of a control queue: messages
    std::uint64_t bytes = 0;
    std::uint64_t errors = 0;  ///< chains and messages that make no sense
    std::uint64_t waits = 0;   ///< for the host's end to take more
    std::uint64_t interrupts = 0;

    bool operator==(const Metrics&) const = default;
};

/// The live counters of one queue.
struct QueueMetrics {
    MetricCounter chains;
    MetricCounter bytes;
    MetricCounter errors;
    MetricCounter waits;
    MetricCounter interrupts;

    [[nodiscard]] Metrics values() const {
        return {.chains = chains.get(),
                .bytes = bytes.get(),
                .errors = errors.get(),
                .waits = waits.get(),
                .interrupts = interrupts.get()};
    }
};

}  // namespace hako::virtio::console
