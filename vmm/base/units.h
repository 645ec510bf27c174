// Sizes, alignment and checked narrowing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace hako {

inline constexpr std::uint64_t KiB = 1024;
inline constexpr std::uint64_t MiB = 1024 * KiB;
inline constexpr std::uint64_t GiB = 1024 * MiB;
inline constexpr std::uint64_t kPageSize = 4 * KiB;

/// Rounds up to a multiple of `alignment` (a power of two). The caller rules out overflow.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}
constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) {
    return value & ~(alignment - 1);
}
constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) {
    return (value & (alignment - 1)) == 0;
}

/// `a + b`, or nothing if it does not fit in 64 bits. For every sum with a guest's or a file's number in it.
constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
    std::uint64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
    return sum;
}

/// A cast between integers whose value the surrounding code has shown to fit.
template <typename To, typename From>
constexpr To narrow(From value) {
    static_assert(std::is_integral_v<To> && std::is_integral_v<From>);
    return static_cast<To>(value);
}

/// "512M", "2GiB", "4096" (bytes), "1.5G" is refused. Suffixes K M G T, optional iB or B, any case.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// "512 MiB", "2 GiB", "4097 bytes": the largest unit that divides it.
std::string format_size(std::uint64_t bytes);

}  // namespace hako
