// The disk's jobs, as fio runs them in a guest and on the host.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hako::bench {

struct FioJob {
    std::string_view name;
    std::string_view mode;   ///< fio's --rw
    std::string_view block;  ///< fio's --bs
    std::uint32_t depth;     ///< requests in flight
};
std::span<const FioJob> fio_jobs();

/// Lines that a job in a guest prints just before its first request and just after its last.
inline constexpr std::string_view kFioBegins = "HAKO-FIO-BEGINS";
inline constexpr std::string_view kFioEnded = "HAKO-FIO-ENDED";

/// fio and its arguments; it prints one line.
std::vector<std::string> fio_words(const FioJob& job, const std::string& file, std::uint32_t seconds);
/// Such words for a guest's shell, with the two lines above.
std::string fio_script(const std::vector<std::string>& words);

struct FioResult {
    double requests = 0;
    double seconds = 0;
};
/// Finds the terse line (version 3, as --minimal prints it) of a job that reads or writes.
std::optional<FioResult> parse_fio(std::string_view output);

}  // namespace hako::bench
