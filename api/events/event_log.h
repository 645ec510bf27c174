// What happened to the VM, in order.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace hako::api {

struct Event {
    using Properties = std::map<std::string, std::string>;

    std::uint64_t sequence = 0;       ///< 1 for the first of this process, then one more each time
    std::chrono::nanoseconds time{};  ///< since the log began
    std::string source;               ///< "vmm", "vm"
    std::string name;                 ///< "booted"
    Properties properties;
};

/// As Cloud Hypervisor's event monitor writes it: an indented JSON document and a blank line.
[[nodiscard]] std::string monitor_text(const Event& event);
/// The same document with its sequence number, on one line.
[[nodiscard]] std::string stream_text(const Event& event);

/// Keeps the last kKept events for those who come late. Any thread.
class EventLog {
  public:
    static constexpr std::size_t kKept = 1024;
    using Clock = std::function<std::chrono::steady_clock::time_point()>;
    using Listener = std::function<void(const Event& event)>;

    explicit EventLog(Clock clock = std::chrono::steady_clock::now);

    void add(std::string_view source, std::string_view name, Event::Properties properties = {});
    /// The number of the latest event; 0: there was none.
    [[nodiscard]] std::uint64_t last() const;
    /// The first event kept whose number is above `sequence`, if there is one.
    [[nodiscard]] std::optional<Event> after(std::uint64_t sequence) const;

    /// `listener` hears of every event from now on, on the thread that adds it; it must not wait, nor call
    /// this log. Returns its number for unsubscribe(), after which it hears no more.
    unsigned subscribe(Listener listener);
    void unsubscribe(unsigned number);

  private:
    mutable std::mutex mutex_;
    Clock clock_;
    std::chrono::steady_clock::time_point start_;
    std::deque<Event> events_;
    std::uint64_t last_ = 0;
    std::map<unsigned, Listener> listeners_;
    unsigned next_listener_ = 0;
};

}  // namespace hako::api
