#include "tools/hako/bench_usage.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tools/hako/doctor_file.h"

namespace hako::bench {
namespace {

namespace fs = std::filesystem;

/// Fields of /proc/PID/stat, counted from 1 as in proc(5).
constexpr std::size_t kUserTime = 14;
constexpr std::size_t kSystemTime = 15;
constexpr std::size_t kGuestTime = 43;
/// The first one behind the name, which may hold blanks and brackets.
constexpr std::size_t kState = 3;

/// Ids of running processes or threads: the numeric names in a folder of /proc.
std::vector<::pid_t> ids_in(const std::string& folder) {
    std::vector<::pid_t> ids;
    std::error_code error;
    for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::directory_iterator();
         entry.increment(error)) {
        const std::string name = entry->path().filename();
        ::pid_t id = 0;
        const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), id);
        if (bad == std::errc{} && end == name.data() + name.size()) ids.push_back(id);
    }
    return ids;
}

std::string read_all(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<std::int64_t> event_id(std::string_view event) {
    for (const char* const root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"})
        if (const auto id = doctor::read_number(fmt::format("{}/events/{}/id", root, event))) return id;
    return std::nullopt;
}

}  // namespace

CpuTime operator+(CpuTime a, CpuTime b) {
    return {.total = a.total + b.total, .guest = a.guest + b.guest};
}
CpuTime operator-(CpuTime a, CpuTime b) {
    return {.total = a.total - b.total, .guest = a.guest - b.guest};
}

std::optional<CpuTime> parse_stat(std::string_view text, long ticks) {
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string_view::npos || ticks <= 0) return std::nullopt;
    text.remove_prefix(name_end + 1);
    std::array<std::int64_t, kGuestTime + 1> fields{};
    for (std::size_t field = kState; field <= kGuestTime; ++field) {
        text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
        const std::size_t length = std::min(text.find_first_of(" \n"), text.size());
        if (length == 0) return std::nullopt;
        std::from_chars(text.data(), text.data() + length, fields[field]);
        text.remove_prefix(length);
    }
    const auto time = [&](std::int64_t count) {
        return std::chrono::microseconds(count * 1'000'000 / ticks);
    };
    return CpuTime{.total = time(fields[kUserTime] + fields[kSystemTime]), .guest = time(fields[kGuestTime])};
}

Result<CpuTime> cpu_time(::pid_t pid) {
    const long ticks = ::sysconf(_SC_CLK_TCK);
    const auto own = parse_stat(read_all(fmt::format("/proc/{}/stat", pid)), ticks);
    if (!own) return fail_host("cannot read the CPU time of process {}", pid);
    CpuTime sum = *own;
    // Before Linux 6.4 these are processes of their own; since then they are threads, and counted already.
    const std::string vhost = fmt::format("vhost-{}", pid);
    for (const ::pid_t other : ids_in("/proc")) {
        if (doctor::read_line(fmt::format("/proc/{}/comm", other)) != vhost) continue;
        if (const auto time = parse_stat(read_all(fmt::format("/proc/{}/stat", other)), ticks))
            sum = sum + *time;
    }
    return sum;
}

Result<EventCounter> EventCounter::start(::pid_t pid, std::string_view event) {
    const auto id = event_id(event);
    if (!id) return fail_host("the kernel shows no tracepoint {}: mount tracefs, as root", event);
    perf_event_attr attributes{};
    attributes.type = PERF_TYPE_TRACEPOINT;
    attributes.size = sizeof attributes;
    attributes.config = static_cast<std::uint64_t>(*id);
    attributes.inherit = 1;
    EventCounter counter;
    for (const ::pid_t thread : ids_in(fmt::format("/proc/{}/task", pid))) {
        Fd fd(static_cast<int>(
            ::syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC)));
        if (fd.valid()) {
            counter.threads_.push_back(std::move(fd));
        } else if (errno != ESRCH) {  // it may just have ended
            return fail_errno(errno, "cannot count {}", event);
        }
    }
    return counter;
}

Result<std::uint64_t> EventCounter::count() const {
    std::uint64_t sum = 0;
    for (const Fd& thread : threads_) {
        std::uint64_t value = 0;
        if (::read(thread.get(), &value, sizeof value) != sizeof value)
            return fail_errno(errno, "cannot read a counter");
        sum += value;
    }
    return sum;
}

}  // namespace hako::bench
