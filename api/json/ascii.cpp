#include "api/json/ascii.h"

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>

namespace hako::api::json {
namespace {

constexpr std::uint32_t kReplacement = 0xfffd;
constexpr std::uint32_t kFirstSupplementary = 0x10000;
constexpr std::uint32_t kLastCodePoint = 0x10ffff;

/// Takes one code point off the front of `text`, which is not empty. A byte that begins none is one
/// kReplacement.
std::uint32_t take_code_point(std::string_view& text) {
    const auto byte = [&](std::size_t index) { return static_cast<std::uint8_t>(text[index]); };
    const std::uint8_t first = byte(0);
    std::size_t length = 1;
    std::uint32_t least = 0;
    std::uint32_t value = first;
    if (first >= 0xf0 && first < 0xf8) {
        length = 4;
        least = kFirstSupplementary;
        value = first & 0x07U;
    } else if (first >= 0xe0 && first < 0xf0) {
        length = 3;
        least = 0x800;
        value = first & 0x0fU;
    } else if (first >= 0xc0 && first < 0xe0) {
        length = 2;
        least = 0x80;
        value = first & 0x1fU;
    } else if (first >= 0x80) {
        value = kReplacement;
    }
    bool good = length <= text.size();
    for (std::size_t index = 1; good && index < length; ++index) {
        good = (byte(index) & 0xc0U) == 0x80;
        value = value << 6U | (byte(index) & 0x3fU);
    }
    good = good && value >= least && value <= kLastCodePoint && (value < 0xd800 || value > 0xdfff);
    text.remove_prefix(good ? length : 1);
    return good ? value : kReplacement;
}

void append_escaped(std::string& out, std::uint32_t code_point) {
    if (code_point < kFirstSupplementary) {
        out += fmt::format("\\u{:04x}", code_point);
        return;
    }
    const std::uint32_t offset = code_point - kFirstSupplementary;
    out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (offset >> 10U), 0xdc00 + (offset & 0x3ffU));
}

}  // namespace

std::string to_ascii(std::string_view json) {
    std::string out;
    out.reserve(json.size());
    while (!json.empty()) {
        const std::uint32_t code_point = take_code_point(json);
        if (code_point < 0x80)
            out.push_back(static_cast<char>(code_point));
        else
            append_escaped(out, code_point);
    }
    return out;
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    while (!text.empty()) {
        const std::uint32_t code_point = take_code_point(text);
        if (code_point == '"' || code_point == '\\') {
            out.push_back('\\');
            out.push_back(static_cast<char>(code_point));
        } else if (code_point >= 0x20 && code_point < 0x7f) {
            out.push_back(static_cast<char>(code_point));
        } else {
            append_escaped(out, code_point);
        }
    }
    out.push_back('"');
    return out;
}

}  // namespace hako::api::json
