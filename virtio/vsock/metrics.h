// What a virtio socket device did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "virtio/metric_counter.h"

namespace hako::virtio::vsock {

/// Of one queue at one moment.
struct Metrics {
    std::uint64_t packets = 0;  ///< that went through; of the event queue: events
    std::uint64_t bytes = 0;    ///< payload of them
    std::uint64_t dropped = 0;  ///< packets from a CID that is not the guest's
    std::uint64_t errors = 0;   ///< chains that are no packet
    std::uint64_t waits = 0;    ///< for the guest to take packets or to give credit
    std::uint64_t interrupts = 0;

    bool operator==(const Metrics&) const = default;
};

/// The live counters of one queue.
struct QueueMetrics {
    MetricCounter packets;
    MetricCounter bytes;
    MetricCounter dropped;
    MetricCounter errors;
    MetricCounter waits;
    MetricCounter interrupts;

    [[nodiscard]] Metrics values() const {
        return {.packets = packets.get(),
                .bytes = bytes.get(),
                .dropped = dropped.get(),
                .errors = errors.get(),
                .waits = waits.get(),
                .interrupts = interrupts.get()};
    }
};

/// Of all connections at one moment.
struct ConnectionMetrics {
    std::uint64_t from_host = 0;   ///< that the host asked for and the guest took
    std::uint64_t from_guest = 0;  ///< that the guest asked for and somebody on the host took
    std::uint64_t refused = 0;     ///< that nobody took, or for which there was no room
    std::uint64_t resets = 0;      ///< that ended before their time: a lost packet, a timeout, a broken rule
    std::uint64_t open = 0;        ///< now

    bool operator==(const ConnectionMetrics&) const = default;
};

struct LiveConnectionMetrics {
    MetricCounter from_host;
    MetricCounter from_guest;
    MetricCounter refused;
    MetricCounter resets;
    MetricCounter ended;
    MetricCounter begun;

    [[nodiscard]] ConnectionMetrics values() const {
        // Read in this order, what is open is never less than nothing.
        const std::uint64_t gone = ended.get();
        return {.from_host = from_host.get(),
                .from_guest = from_guest.get(),
                .refused = refused.get(),
                .resets = resets.get(),
                .open = begun.get() - gone};
    }
};

}  // namespace hako::virtio::vsock
