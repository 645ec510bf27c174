#include "vmm/seed/utf8.h"

namespace hako::seed {
namespace {

constexpr char32_t kReplacement = 0xfffd;
constexpr char32_t kFirstBeyond = 0x10000;  ///< the first that takes two units of UTF-16
constexpr char32_t kHighSurrogate = 0xd800;
constexpr char32_t kLowSurrogate = 0xdc00;
constexpr char32_t kSurrogateEnd = 0xe000;

/// Of a well-formed sequence.
char32_t code_point(std::string_view sequence) {
    const auto byte = [&](std::size_t i) {
        return static_cast<char32_t>(static_cast<unsigned char>(sequence[i]));
    };
    if (sequence.size() == 1) return byte(0);
    char32_t value = byte(0) & (0x7fU >> sequence.size());
    for (std::size_t i = 1; i < sequence.size(); ++i)
        value = value << 6 | (byte(i) & 0x3fU);
    return value;
}

void append(std::string& text, char32_t point) {
    const auto tail = [&](unsigned shift) { text += static_cast<char>(0x80U | (point >> shift & 0x3fU)); };
    if (point < 0x80) {
        text += static_cast<char>(point);
    } else if (point < 0x800) {
        text += static_cast<char>(0xc0U | point >> 6);
        tail(0);
    } else if (point < kFirstBeyond) {
        text += static_cast<char>(0xe0U | point >> 12);
        tail(6);
        tail(0);
    } else {
        text += static_cast<char>(0xf0U | point >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) -> unsigned {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const auto tail = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
    const unsigned first = byte(0);
    if (first < 0x80) return text.empty() ? 0 : 1;
    if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) {
        const bool overlong = first == 0xe0 && byte(1) < 0xa0;
        const bool surrogate = first == 0xed && byte(1) > 0x9f;
        return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const bool overlong = first == 0xf0 && byte(1) < 0x90;
        const bool too_high = first == 0xf4 && byte(1) > 0x8f;
        return tail(1) && tail(2) && tail(3) && !overlong && !too_high ? 4 : 0;
    }
    return 0;
}

std::optional<std::u16string> to_utf16(std::string_view text) {
    std::u16string result;
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0) return std::nullopt;
        const char32_t point = code_point(text.substr(0, length));
        if (point < kFirstBeyond) {
            result += static_cast<char16_t>(point);
        } else {
            result += static_cast<char16_t>(kHighSurrogate + ((point - kFirstBeyond) >> 10));
            result += static_cast<char16_t>(kLowSurrogate + ((point - kFirstBeyond) & 0x3ffU));
        }
        text.remove_prefix(length);
    }
    return result;
}

std::string to_utf8(std::u16string_view text) {
    std::string result;
    const auto unit_at = [&](std::size_t i) {
        return i < text.size() ? static_cast<char32_t>(text[i]) : U'\0';
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char32_t unit = unit_at(i);
        const char32_t next = unit_at(i + 1);
        if (unit < kHighSurrogate || unit >= kSurrogateEnd) {
            append(result, unit);
        } else if (unit < kLowSurrogate && next >= kLowSurrogate && next < kSurrogateEnd) {
            append(result, kFirstBeyond + ((unit - kHighSurrogate) << 10) + (next - kLowSurrogate));
            ++i;
        } else {
            append(result, kReplacement);
        }
    }
    return result;
}

}  // namespace hako::seed
