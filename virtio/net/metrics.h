// What a network device's queue did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "virtio/metric_counter.h"

namespace hako::virtio::net {

/// Values at one moment; sums of queues are made with +=.
struct Metrics {
    std::uint64_t packets = 0;  ///< that went through; of a control queue: commands
    std::uint64_t bytes = 0;    ///< of them, without the virtio-net header
    std::uint64_t dropped = 0;  ///< packets that could not be handed on: link down, refused, no room
    std::uint64_t errors = 0;   ///< chains that are no packet, commands answered with VIRTIO_NET_ERR
    std::uint64_t interrupts = 0;
    std::uint64_t throttled = 0;  ///< waits for the rate limit

    Metrics& operator+=(const Metrics& other);
    bool operator==(const Metrics&) const = default;
};

/// The live counters of one queue.
struct QueueMetrics {
    MetricCounter packets;
    MetricCounter bytes;
    MetricCounter dropped;
    MetricCounter errors;
    MetricCounter interrupts;
    MetricCounter throttled;

    [[nodiscard]] Metrics values() const {
        return {.packets = packets.get(),
                .bytes = bytes.get(),
                .dropped = dropped.get(),
                .errors = errors.get(),
                .interrupts = interrupts.get(),
                .throttled = throttled.get()};
    }
};

inline Metrics& Metrics::operator+=(const Metrics& other) {
    packets += other.packets;
    bytes += other.bytes;
    dropped += other.dropped;
    errors += other.errors;
    interrupts += other.interrupts;
    throttled += other.throttled;
    return *this;
}

}  // namespace hako::virtio::net
