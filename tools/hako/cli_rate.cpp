#include "tools/hako/cli_rate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "tools/hako/cli_number.h"
#include "vmm/base/units.h"

namespace hako::cli {
namespace {

/// A size above 0; nothing otherwise.
std::optional<std::uint64_t> positive_size(std::string_view text) {
    const auto size = parse_size(text);
    return size == 0 ? std::nullopt : size;
}

std::optional<std::uint64_t> size_per_second(std::string_view text) {
    constexpr std::string_view kPerSecond = "/s";
    if (!text.ends_with(kPerSecond)) return std::nullopt;
    return positive_size(text.substr(0, text.size() - kPerSecond.size()));
}

std::optional<std::uint64_t> positive_number(std::string_view text) {
    return parse_number(text, 1, std::numeric_limits<std::uint64_t>::max());
}

struct Reader {
    std::optional<std::uint64_t> (*rate)(std::string_view);
    std::string_view rate_allowed;
    std::optional<std::uint64_t> (*burst)(std::string_view);
    std::string_view burst_allowed;
};

Result<> read(const KeyValues& values, std::string_view key, const Reader& reader, io::Rate& rate) {
    const std::string burst_key = fmt::format("{}_burst", key);
    const std::string* rate_text = values.find(key);
    const std::string* burst_text = values.find(burst_key);
    if (rate_text == nullptr && burst_text == nullptr) return {};
    if (rate_text == nullptr) return values.refuse_all(fmt::format("{}= needs {}=", burst_key, key));
    const auto tokens = reader.rate(*rate_text);
    if (!tokens) return values.refuse(key, reader.rate_allowed);
    // With a whole second's worth at once a limit would mean twice as much in its first second.
    std::optional<std::uint64_t> burst = std::max<std::uint64_t>(*tokens / 10, 1);
    if (burst_text != nullptr) burst = reader.burst(*burst_text);
    if (!burst) return values.refuse(burst_key, reader.burst_allowed);
    rate = {.tokens = *tokens, .burst = *burst};
    return {};
}

}  // namespace

Result<> read_bandwidth(const KeyValues& values, io::Rate& rate) {
    const Reader reader{.rate = size_per_second,
                        .rate_allowed = "a size a second, at least 1/s, such as 64K/s",
                        .burst = positive_size,
                        .burst_allowed = "a size above 0 such as 1M"};
    return read(values, "bandwidth", reader, rate);
}

Result<> read_operations(const KeyValues& values, std::string_view key, io::Rate& rate) {
    const Reader reader{.rate = positive_number,
                        .rate_allowed = "a whole number above 0",
                        .burst = positive_number,
                        .burst_allowed = "a whole number above 0"};
    return read(values, key, reader, rate);
}

}  // namespace hako::cli
