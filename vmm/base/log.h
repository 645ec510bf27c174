// The log: one line an event, to stderr or a file. What a guest can cause goes through a LogLimit.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>

namespace hako {

enum class LogLevel { kError, kWarn, kInfo, kDebug };

void set_log_level(LogLevel level);
/// How often -v was given: 0 warnings, 1 info, 2 and more debug.
void set_verbosity(unsigned count);
/// Lines go to `fd` from now on, which stays open for as long as the process lives.
void set_log_fd(int fd);
[[nodiscard]] bool log_enabled(LogLevel level);
/// Writes one line; control characters are escaped, since text may come from a guest. At most 1 KiB of it.
void write_log(LogLevel level, std::string_view text);

template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
    write_log(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
    if (log_enabled(LogLevel::kWarn))
        write_log(LogLevel::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
    if (log_enabled(LogLevel::kInfo))
        write_log(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
    if (log_enabled(LogLevel::kDebug))
        write_log(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}

/// Lets at most one line through per interval, and counts those it held back. Safe from any thread.
class LogLimit {
  public:
    explicit LogLimit(std::chrono::nanoseconds interval = std::chrono::seconds(1)) : interval_(interval) {}

    /// True if a line may be written now; `suppressed` says how many were held back since the last.
    bool allow(std::uint64_t& suppressed);

    /// log_warn() under the limit.
    template <typename... Args>
    void warn(fmt::format_string<Args...> format, Args&&... args) {
        std::uint64_t suppressed = 0;
        if (!allow(suppressed)) return;
        std::string line = fmt::format(format, std::forward<Args>(args)...);
        if (suppressed > 0) line += fmt::format(" ({} similar lines held back)", suppressed);
        log_warn("{}", line);
    }

  private:
    std::chrono::nanoseconds interval_;
    std::atomic<std::int64_t> next_ns_{0};
    std::atomic<std::uint64_t> suppressed_{0};
};

}  // namespace hako
