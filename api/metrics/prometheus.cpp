#include "api/metrics/prometheus.h"

#include <fmt/core.h>

namespace hako::api {
namespace {

std::string escaped(std::string_view value) {
    std::string text;
    for (const char c : value) {
        if (c == '\n') {
            text += "\\n";
            continue;
        }
        if (c == '"' || c == '\\') text.push_back('\\');
        text.push_back(c);
    }
    return text;
}

}  // namespace

void PrometheusText::family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void PrometheusText::line(std::string_view suffix, Labels labels, std::string_view more,
                          std::string_view value) {
    text_.append(name_).append(suffix);
    char before = '{';
    for (const auto& [key, label] : labels) {
        text_.push_back(before);
        text_.append(key).append("=\"").append(escaped(label)).append("\"");
        before = ',';
    }
    if (!more.empty()) {
        text_.push_back(before);
        text_.append(more);
    }
    if (!more.empty() || labels.size() > 0) text_.push_back('}');
    text_.append(" ").append(value).append("\n");
}

void PrometheusText::sample(Labels labels, std::uint64_t value) {
    line("", labels, "", std::to_string(value));
}

void PrometheusText::sample(Labels labels, double value) {
    line("", labels, "", fmt::format("{}", value));
}

void PrometheusText::buckets(Labels labels, std::span<const double> bounds,
                             std::span<const std::uint64_t> counts, double sum) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        count += counts[i];
        const std::string bound = i < bounds.size() ? fmt::format("{}", bounds[i]) : "+Inf";
        line("_bucket", labels, fmt::format("le=\"{}\"", bound), std::to_string(count));
    }
    line("_sum", labels, "", fmt::format("{}", sum));
    line("_count", labels, "", std::to_string(count));
}

}  // namespace hako::api
