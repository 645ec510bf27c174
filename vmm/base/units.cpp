#include "vmm/base/units.h"

#include <fmt/core.h>

#include <array>
#include <cctype>
#include <charconv>

namespace hako {

std::optional<std::uint64_t> parse_size(std::string_view text) {
    std::uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || rest == text.data()) return std::nullopt;

    std::string suffix(rest, end);
    for (char& c : suffix)
        c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    unsigned shift = 0;
    if (!suffix.empty()) {
        constexpr std::string_view kUnits = "KMGT";
        const std::size_t unit = kUnits.find(suffix[0]);
        const std::string_view tail = std::string_view(suffix).substr(1);
        if (suffix == "B") {
            shift = 0;
        } else if (unit != std::string_view::npos && (tail.empty() || tail == "B" || tail == "IB")) {
            shift = static_cast<unsigned>(10 * (unit + 1));
        } else {
            return std::nullopt;
        }
    }
    if (number > (UINT64_MAX >> shift)) return std::nullopt;
    return number << shift;
}

std::string format_size(std::uint64_t bytes) {
    constexpr std::array<const char*, 5> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
        bytes /= 1024;
        ++unit;
    }
    return fmt::format("{} {}", bytes, kUnits[unit]);
}

}  // namespace hako
