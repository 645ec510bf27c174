// How long things took: counts by powers of two.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "virtio/metric_counter.h"

namespace hako::virtio {

/// A single thread writes, any thread reads.
class LatencyHistogram {
  public:
    static constexpr std::size_t kBuckets = 25;

    /// Bucket 0 counts what took less than 1 us, bucket N from 2^(N-1) to less than 2^N us, the last one
    /// (from 8.4 s) all that is longer.
    struct Values {
        std::array<std::uint64_t, kBuckets> buckets{};
        std::uint64_t total_ns = 0;

        Values& operator+=(const Values& other) {
            for (std::size_t i = 0; i < kBuckets; ++i)
                buckets[i] += other.buckets[i];
            total_ns += other.total_ns;
            return *this;
        }
        bool operator==(const Values&) const = default;
    };

    void add(std::chrono::nanoseconds time) {
        const auto ns = static_cast<std::uint64_t>(std::max<std::chrono::nanoseconds::rep>(time.count(), 0));
        const auto bucket = static_cast<std::size_t>(std::bit_width(ns / 1000));
        buckets_[std::min(bucket, kBuckets - 1)].add(1);
        total_ns_.add(ns);
    }
    [[nodiscard]] Values values() const {
        Values values{.total_ns = total_ns_.get()};
        std::ranges::transform(buckets_, values.buckets.begin(), &MetricCounter::get);
        return values;
    }

  private:
    std::array<MetricCounter, kBuckets> buckets_;
    MetricCounter total_ns_;
};

}  // namespace hako::virtio
