#include "vmm/base/log.h"

#include <unistd.h>

#include <array>
#include <string>

namespace hako {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kWarn};
std::atomic<int> g_fd{STDERR_FILENO};

constexpr std::size_t kMaxText = 1024;

constexpr std::array<const char*, 4> kNames = {"error", "warning", "info", "debug"};

}  // namespace

void set_log_level(LogLevel level) {
    g_level.store(level, std::memory_order_relaxed);
}

void set_verbosity(unsigned count) {
    set_log_level(count == 0 ? LogLevel::kWarn : count == 1 ? LogLevel::kInfo : LogLevel::kDebug);
}

void set_log_fd(int fd) {
    g_fd.store(fd, std::memory_order_relaxed);
}

bool log_enabled(LogLevel level) {
    return level <= g_level.load(std::memory_order_relaxed);
}

void write_log(LogLevel level, std::string_view text) {
    std::string line = fmt::format("hako: {}: ", kNames[static_cast<std::size_t>(level)]);
    for (const char c : text.substr(0, kMaxText)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte != 0x7f) {
            line += c;
        } else {
            line += fmt::format("\\x{:02x}", byte);
        }
    }
    line += '\n';
    // One write, so that lines of several threads do not mix.
    [[maybe_unused]] const ssize_t written =
        ::write(g_fd.load(std::memory_order_relaxed), line.data(), line.size());
}

bool LogLimit::allow(std::uint64_t& suppressed) {
    const std::int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::chrono::steady_clock::now().time_since_epoch())
                                 .count();
    std::int64_t next = next_ns_.load(std::memory_order_relaxed);
    if (now < next ||
        !next_ns_.compare_exchange_strong(next, now + interval_.count(), std::memory_order_relaxed)) {
        suppressed_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
    return true;
}

}  // namespace hako
