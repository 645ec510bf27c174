// "Did you mean …?" for a mistyped option, command or key.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace hako::cli {

/// The candidate that fewest edits turn `word` into, or an empty view if none is close (a third of its
/// length).
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

/// "; did you mean X?", or "" when nothing is near.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace hako::cli
