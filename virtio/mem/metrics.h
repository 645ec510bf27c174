// What a memory device did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "virtio/metric_counter.h"

namespace hako::virtio::mem {

/// At one moment.
struct Metrics {
    std::uint64_t requests = 0;
    std::uint64_t refused = 0;    ///< of them, answered with NACK or BUSY
    std::uint64_t errors = 0;     ///< answered with ERROR, and buffers that are no request
    std::uint64_t discarded = 0;  ///< bytes of unplugged blocks that were given back to the host
    std::uint64_t kept = 0;       ///< bytes that the host would not take back
    std::uint64_t interrupts = 0;

    bool operator==(const Metrics&) const = default;
};

/// The live counters.
struct DeviceMetrics {
    MetricCounter requests;
    MetricCounter refused;
    MetricCounter errors;
    MetricCounter discarded;
    MetricCounter kept;
    MetricCounter interrupts;

    [[nodiscard]] Metrics values() const {
        return {.requests = requests.get(),
                .refused = refused.get(),
                .errors = errors.get(),
                .discarded = discarded.get(),
                .kept = kept.get(),
                .interrupts = interrupts.get()};
    }
};

}  // namespace hako::virtio::mem
