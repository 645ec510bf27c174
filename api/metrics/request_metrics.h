// How long the API took to answer.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "api/http/message.h"
#include "api/metrics/prometheus.h"
#include "virtio/latency_histogram.h"

namespace hako::api {

/// Control thread. `path` is one of those that are served, or "other": labels do not grow with what clients
/// send.
class RequestMetrics {
  public:
    void add(http::Method method, std::string_view path, http::Status status, std::chrono::nanoseconds time);
    void write(PrometheusText& text) const;

  private:
    using Key = std::tuple<http::Method, std::string, http::Status>;

    std::map<Key, virtio::LatencyHistogram> requests_;
};

/// The histogram of `values` as samples of the current family.
void write_latency(PrometheusText& text, PrometheusText::Labels labels,
                   const virtio::LatencyHistogram::Values& values);

}  // namespace hako::api
