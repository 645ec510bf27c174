// Bytes as text. (RFC 4648, section 4)
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hako::api::json {

/// With padding, and nothing else but the alphabet; otherwise nothing.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);
[[nodiscard]] std::string to_base64(std::string_view bytes);

}  // namespace hako::api::json
