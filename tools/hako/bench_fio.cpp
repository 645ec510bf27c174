#include "tools/hako/bench_fio.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>

namespace hako::bench {
namespace {

constexpr std::array<FioJob, 9> kJobs = {{
    {"randread-4k-1", "randread", "4k", 1},
    {"randread-4k-8", "randread", "4k", 8},
    {"randread-4k-32", "randread", "4k", 32},
    {"randwrite-4k-1", "randwrite", "4k", 1},
    {"randwrite-4k-32", "randwrite", "4k", 32},
    {"read-64k-8", "read", "64k", 8},
    {"write-64k-8", "write", "64k", 8},
    {"read-1m-4", "read", "1m", 4},
    {"write-1m-4", "write", "1m", 4},
}};

/// Places in the terse line, counted from 0. Each direction gives its KiB, KiB a second, requests a second
/// and milliseconds.
constexpr std::size_t kError = 4;
constexpr std::size_t kReads = 5;
constexpr std::size_t kWrites = 46;
constexpr std::size_t kRate = 2;
constexpr std::size_t kRuntime = 3;

std::vector<std::string_view> split(std::string_view line) {
    std::vector<std::string_view> fields;
    for (std::size_t begin = 0; begin <= line.size();) {
        const std::size_t end = std::min(line.find(';', begin), line.size());
        fields.push_back(line.substr(begin, end - begin));
        begin = end + 1;
    }
    return fields;
}

double number(std::string_view text) {
    double value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

}  // namespace

std::span<const FioJob> fio_jobs() {
    return kJobs;
}

std::vector<std::string> fio_words(const FioJob& job, const std::string& file, std::uint32_t seconds) {
    return {"fio",
            "--name=hako",
            "--minimal",
            "--thread",
            fmt::format("--filename={}", file),
            "--direct=1",
            "--ioengine=io_uring",
            fmt::format("--rw={}", job.mode),
            fmt::format("--bs={}", job.block),
            fmt::format("--iodepth={}", job.depth),
            "--time_based",
            fmt::format("--runtime={}", seconds),
            "--randrepeat=1",
            "--norandommap"};
}

std::string fio_script(const std::vector<std::string>& words) {
    // fio sends what its hooks print to a file: they have a shell of their own.
    return fmt::format(
        "{} --exec_prerun=\"sh -c 'echo {} >/dev/console'\" --exec_postrun=\"sh -c 'echo {} >/dev/console'\"",
        fmt::join(words, " "), kFioBegins, kFioEnded);
}

std::optional<FioResult> parse_fio(std::string_view output) {
    for (std::size_t begin = 0; begin < output.size();) {
        const std::size_t end = std::min(output.find('\n', begin), output.size());
        const auto fields = split(output.substr(begin, end - begin));
        begin = end + 1;
        if (fields.size() <= kWrites + kRuntime || fields[0] != "3" || fields[kError] != "0") continue;
        for (const std::size_t direction : {kReads, kWrites}) {
            const double seconds = number(fields[direction + kRuntime]) / 1000;
            const double rate = number(fields[direction + kRate]);
            if (seconds > 0 && rate > 0) return FioResult{.requests = rate * seconds, .seconds = seconds};
        }
    }
    return std::nullopt;
}

}  // namespace hako::bench
