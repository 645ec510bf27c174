#include "api/metrics/request_metrics.h"

#include <array>
#include <utility>

namespace hako::api {
namespace {

using virtio::LatencyHistogram;

/// Upper bounds in seconds: 1 us, 2 us, 4 us … The last bucket has none.
constexpr std::array<double, LatencyHistogram::kBuckets - 1> bounds() {
    std::array<double, LatencyHistogram::kBuckets - 1> seconds{};
    for (std::size_t i = 0; i < seconds.size(); ++i)
        seconds[i] = static_cast<double>(std::uint64_t{1} << i) / 1e6;
    return seconds;
}

}  // namespace

void write_latency(PrometheusText& text, PrometheusText::Labels labels,
                   const LatencyHistogram::Values& values) {
    static constexpr auto kBounds = bounds();
    text.buckets(labels, kBounds, values.buckets, static_cast<double>(values.total_ns) / 1e9);
}

void RequestMetrics::add(http::Method method, std::string_view path, http::Status status,
                         std::chrono::nanoseconds time) {
    requests_[Key(method, path, status)].add(time);
}

void RequestMetrics::write(PrometheusText& text) const {
    text.histogram("hako_api_request_duration_seconds", "From a whole request to its answer.");
    for (const auto& [key, histogram] : requests_) {
        const auto& [method, path, status] = key;
        const std::string code = std::to_string(std::to_underlying(status));
        write_latency(text, {{"method", http::method_name(method)}, {"path", path}, {"status", code}},
                      histogram.values());
    }
}

}  // namespace hako::api
