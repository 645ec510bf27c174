// UTF-8 and UTF-16: what texts come in, and what Joliet and FAT write names in.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace hako::seed {

/// Bytes of the well-formed sequence at the start of `text` (RFC 3629), 0 if it is none.
[[nodiscard]] std::size_t utf8_length(std::string_view text);

/// Nothing if the text is not UTF-8.
[[nodiscard]] std::optional<std::u16string> to_utf16(std::string_view text);
/// Surrogates without their half become U+FFFD.
[[nodiscard]] std::string to_utf8(std::u16string_view text);

}  // namespace hako::seed
