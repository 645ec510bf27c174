// JSON as ASCII: some clients read it in pieces that may cut a longer character in two.
#pragma once

#include <string>
#include <string_view>

namespace hako::api::json {

/// The same JSON text with every character beyond ASCII escaped; what is not UTF-8 becomes U+FFFD.
[[nodiscard]] std::string to_ascii(std::string_view json);

/// `text` as a JSON string literal in ASCII.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace hako::api::json
