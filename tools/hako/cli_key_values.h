// Option values of the form `key=value,key=value`.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/base/result.h"

namespace hako::cli {

/// What the text of one option may hold.
struct KeyValueSyntax {
    std::string_view option;                  ///< "--disk", for messages
    std::span<const std::string_view> keys;   ///< all that are allowed
    std::span<const std::string_view> flags;  ///< those of them that may stand alone and then mean on
    std::span<const std::string_view> bare;   ///< those that a value without `key=` fills, in this order
    std::span<const std::string_view> repeated = {};  ///< those that may be given more than once
};

/// A parsed text. Each key at most once, unless it is a repeated one; a comma inside a value is written
/// twice.
///
/// The readers leave `value` alone when the key was not given, and fail with a message that names the option,
/// the key, what was given and what is allowed.
class KeyValues {
  public:
    static Result<KeyValues> parse(const KeyValueSyntax& syntax, std::string_view text);

    [[nodiscard]] const std::string* find(std::string_view key) const;
    /// Each value of a repeated key, in order.
    [[nodiscard]] std::vector<std::string> all(std::string_view key) const;

    /// Any text but the empty one.
    Result<> read_text(std::string_view key, std::string& value) const;
    /// on or off.
    Result<> read_switch(std::string_view key, bool& value) const;
    /// A whole number from `min` to `max`.
    template <typename T>
    Result<> read_number(std::string_view key, T& value, T min, T max) const {
        std::uint64_t wide = value;
        HAKO_TRY(read_wide(key, wide, min, max));
        value = static_cast<T>(wide);
        return {};
    }
    /// The error for a value that the caller found wanting: "--disk TEXT: KEY must be ALLOWED, not VALUE".
    [[nodiscard]] std::unexpected<Error> refuse(std::string_view key, std::string_view allowed) const;
    /// The error for values that do not go together: "--disk TEXT: MESSAGE".
    [[nodiscard]] std::unexpected<Error> refuse_all(std::string_view message) const;

  private:
    Result<> read_wide(std::string_view key, std::uint64_t& value, std::uint64_t min,
                       std::uint64_t max) const;

    std::string option_;
    std::string text_;
    std::vector<std::pair<std::string, std::string>> values_;
};

}  // namespace hako::cli
