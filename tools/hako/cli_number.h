// Whole numbers on the command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace hako::cli {

/// Decimal digits only (no sign, space or prefix), within [min, max]; nothing otherwise.
std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t min, std::uint64_t max);

}  // namespace hako::cli
