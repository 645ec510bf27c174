// Numbers as Prometheus reads them (text format 0.0.4).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace hako::api {

/// A document, one family of metrics after the other.
class PrometheusText {
  public:
    using Label = std::pair<std::string_view, std::string_view>;
    using Labels = std::initializer_list<Label>;

    static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

    /// What follows is of this metric. Each name once.
    void counter(std::string_view name, std::string_view help) { family(name, "counter", help); }
    void gauge(std::string_view name, std::string_view help) { family(name, "gauge", help); }
    void histogram(std::string_view name, std::string_view help) { family(name, "histogram", help); }

    void sample(Labels labels, std::uint64_t value);
    void sample(Labels labels, double value);
    /// `counts[i]`: how many were in bucket i, from `bounds[i - 1]` to below `bounds[i]` seconds; the last
    /// has no bound. `sum` in seconds.
    void buckets(Labels labels, std::span<const double> bounds, std::span<const std::uint64_t> counts,
                 double sum);

    [[nodiscard]] const std::string& text() const { return text_; }

  private:
    void family(std::string_view name, std::string_view type, std::string_view help);
    void line(std::string_view suffix, Labels labels, std::string_view more, std::string_view value);

    std::string text_;
    std::string name_;
};

}  // namespace hako::api
