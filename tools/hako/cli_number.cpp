#include "tools/hako/cli_number.h"

#include <charconv>

namespace hako::cli {

std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t min, std::uint64_t max) {
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || rest != end || value < min || value > max) return std::nullopt;
    return value;
}

}  // namespace hako::cli
