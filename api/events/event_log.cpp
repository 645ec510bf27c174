#include "api/events/event_log.h"

#include <fmt/core.h>

#include <utility>

#include "api/json/ascii.h"

namespace hako::api {
namespace {

struct Timestamp {
    std::int64_t secs;
    std::int64_t nanos;
};

Timestamp timestamp(const Event& event) {
    const auto secs = std::chrono::duration_cast<std::chrono::seconds>(event.time);
    return {.secs = secs.count(), .nanos = (event.time - secs).count()};
}

/// The properties as an object, each on a line that `before` begins; null for none.
std::string properties_text(const Event& event, std::string_view before, std::string_view colon,
                            std::string_view last) {
    if (event.properties.empty()) return "null";
    std::string text = "{";
    for (const auto& [key, value] : event.properties) {
        if (text.size() > 1) text.push_back(',');
        text += fmt::format("{}{}{}{}", before, json::quoted(key), colon, json::quoted(value));
    }
    return text.append(last).append("}");
}

}  // namespace

std::string monitor_text(const Event& event) {
    const auto [secs, nanos] = timestamp(event);
    return fmt::format(
        "{{\n  \"timestamp\": {{\n    \"secs\": {},\n    \"nanos\": {}\n  }},\n  \"source\": {},\n"
        "  \"event\": {},\n  \"properties\": {}\n}}\n\n",
        secs, nanos, json::quoted(event.source), json::quoted(event.name),
        properties_text(event, "\n    ", ": ", "\n  "));
}

std::string stream_text(const Event& event) {
    const auto [secs, nanos] = timestamp(event);
    return fmt::format(
        R"({{"sequence":{},"timestamp":{{"secs":{},"nanos":{}}},"source":{},"event":{},"properties":{}}})"
        "\n",
        event.sequence, secs, nanos, json::quoted(event.source), json::quoted(event.name),
        properties_text(event, "", ":", ""));
}

EventLog::EventLog(Clock clock) : clock_(std::move(clock)), start_(clock_()) {}

void EventLog::add(std::string_view source, std::string_view name, Event::Properties properties) {
    const std::lock_guard lock(mutex_);
    events_.push_back({.sequence = ++last_,
                       .time = clock_() - start_,
                       .source = std::string(source),
                       .name = std::string(name),
                       .properties = std::move(properties)});
    if (events_.size() > kKept) events_.pop_front();
    for (const auto& [number, listener] : listeners_)
        listener(events_.back());
}

std::uint64_t EventLog::last() const {
    const std::lock_guard lock(mutex_);
    return last_;
}

std::optional<Event> EventLog::after(std::uint64_t sequence) const {
    const std::lock_guard lock(mutex_);
    if (sequence >= last_) return std::nullopt;
    const std::uint64_t first = events_.front().sequence;
    return sequence < first ? events_.front() : events_[sequence + 1 - first];
}

unsigned EventLog::subscribe(Listener listener) {
    const std::lock_guard lock(mutex_);
    listeners_.emplace(next_listener_, std::move(listener));
    return next_listener_++;
}

void EventLog::unsubscribe(unsigned number) {
    const std::lock_guard lock(mutex_);
    listeners_.erase(number);
}

}  // namespace hako::api
