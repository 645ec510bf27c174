// What a block device's queue did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "virtio/latency_histogram.h"
#include "virtio/metric_counter.h"

namespace hako::virtio::blk {

/// Values at one moment; sums of queues are made with +=.
struct Metrics {
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    std::uint64_t flushes = 0;
    std::uint64_t discards = 0;
    std::uint64_t write_zeroes = 0;
    std::uint64_t read_bytes = 0;
    std::uint64_t written_bytes = 0;
    std::uint64_t errors = 0;  ///< requests answered with anything but VIRTIO_BLK_S_OK
    std::uint64_t interrupts = 0;
    std::uint64_t throttled = 0;       ///< waits for the rate limit
    LatencyHistogram::Values latency;  ///< of all requests, from taken off the queue to answered

    Metrics& operator+=(const Metrics& other);
    bool operator==(const Metrics&) const = default;
};

/// The live counters of one queue.
struct QueueMetrics {
    MetricCounter reads;
    MetricCounter writes;
    MetricCounter flushes;
    MetricCounter discards;
    MetricCounter write_zeroes;
    MetricCounter read_bytes;
    MetricCounter written_bytes;
    MetricCounter errors;
    MetricCounter interrupts;
    MetricCounter throttled;
    LatencyHistogram latency;

    [[nodiscard]] Metrics values() const {
        return {.reads = reads.get(),
                .writes = writes.get(),
                .flushes = flushes.get(),
                .discards = discards.get(),
                .write_zeroes = write_zeroes.get(),
                .read_bytes = read_bytes.get(),
                .written_bytes = written_bytes.get(),
                .errors = errors.get(),
                .interrupts = interrupts.get(),
                .throttled = throttled.get(),
                .latency = latency.values()};
    }
};

inline Metrics& Metrics::operator+=(const Metrics& other) {
    reads += other.reads;
    writes += other.writes;
    flushes += other.flushes;
    discards += other.discards;
    write_zeroes += other.write_zeroes;
    read_bytes += other.read_bytes;
    written_bytes += other.written_bytes;
    errors += other.errors;
    interrupts += other.interrupts;
    throttled += other.throttled;
    latency += other.latency;
    return *this;
}

}  // namespace hako::virtio::blk
