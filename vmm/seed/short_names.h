// Names of 8 and 3 characters beside the real ones, as ISO 9660 (level 1) and FAT want them.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>

namespace hako::seed {

struct ShortName {
    std::string base;       ///< 1 to 8 characters: A to Z, 0 to 9, "_", and what makes names differ
    std::string extension;  ///< up to 3

    auto operator<=>(const ShortName&) const = default;
};

/// The names of one folder: each is given out once.
class ShortNames {
  public:
    /// `mark`: what goes before a number that makes names differ ("~" in FAT; ISO 9660 does not allow it).
    explicit ShortNames(char mark) : mark_(mark) {}

    /// True if `name` is a short name as it stands.
    [[nodiscard]] static bool is_short(std::string_view name);
    /// A short name for `name`; what it stands for if is_short() and nobody has it.
    ShortName take(std::string_view name);

  private:
    char mark_;
    std::set<ShortName> taken_;
    std::size_t number_ = 0;  ///< of the last name that had to be made different
};

}  // namespace hako::seed
