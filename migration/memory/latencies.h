// How long many things took, in little room.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace hako::migration {

/// Counts in buckets, four for each power of two of nanoseconds: a quantile is good to a quarter.
class Latencies {
  public:
    void add(std::chrono::nanoseconds time) {
        const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 1));
        ++buckets_[bucket_of(ns)];
        ++count_;
        max_ = std::max(max_, ns);
    }
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] std::uint64_t max_ns() const { return max_; }
    /// At least this share, in percent, took no longer. 0 when there is none.
    [[nodiscard]] std::uint64_t quantile_ns(unsigned percent) const {
        std::uint64_t left = (count_ * percent + 99) / 100;
        for (std::size_t bucket = 0; bucket < buckets_.size() && left > 0; ++bucket) {
            if (buckets_[bucket] >= left) return std::min(end_of(bucket), max_);
            left -= buckets_[bucket];
        }
        return max_;
    }

  private:
    static constexpr std::size_t bucket_of(std::uint64_t ns) {
        const auto power = static_cast<unsigned>(std::bit_width(ns)) - 1;
        const std::uint64_t quarter = power < 2 ? 0 : ns >> (power - 2) & 3;
        return power * 4 + static_cast<std::size_t>(quarter);
    }
    /// The longest time of a bucket.
    static constexpr std::uint64_t end_of(std::size_t bucket) {
        const std::size_t power = bucket / 4;
        if (power < 2) return (std::uint64_t{2} << power) - 1;
        return ((4 + bucket % 4 + 1) << (power - 2)) - 1;
    }

    std::array<std::uint64_t, 64 * 4> buckets_{};
    std::uint64_t count_ = 0;
    std::uint64_t max_ = 0;
};

}  // namespace hako::migration
