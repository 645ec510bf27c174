#include "vmm/state/json.h"

#include <fmt/core.h>

namespace hako::state {
namespace {

constexpr std::size_t kColumns = 110;
constexpr std::string_view kDigits = "0123456789abcdef";

/// The parts between brackets: on one line if that is short enough, else one line each.
std::string enclose(char open, std::span<const std::string> parts, char close, std::size_t indent) {
    std::size_t columns = indent + 2;
    bool one_line = true;
    for (const std::string& part : parts) {
        columns += part.size() + 2;
        one_line = one_line && part.find('\n') == std::string::npos;
    }
    one_line = one_line && columns <= kColumns;
    const std::string separator = one_line ? " " : "\n" + std::string(indent + kJsonIndent, ' ');

    std::string text(1, open);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (i > 0) text += ',';
        if (i > 0 || !one_line) text += separator;
        text += parts[i];
    }
    if (!one_line) text += "\n" + std::string(indent, ' ');
    return text += close;
}

}  // namespace

std::string json_text(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (byte < 0x20 || byte >= 0x7f) {
            quoted += fmt::format("\\u{:04x}", byte);
        } else {
            quoted += c;
        }
    }
    return quoted += '"';
}

std::string json_hex(std::uint64_t value) {
    return fmt::format("\"{:#x}\"", value);
}

std::string json_bytes(std::span<const std::byte> data) {
    std::string text = "\"";
    for (const std::byte byte : data) {
        text += kDigits[std::to_integer<unsigned>(byte) >> 4];
        text += kDigits[std::to_integer<unsigned>(byte) & 15];
    }
    return text += '"';
}

std::string json_array(std::span<const std::string> elements, std::size_t indent) {
    return enclose('[', elements, ']', indent);
}

std::string json_object(std::span<const JsonMember> members, std::size_t indent) {
    std::vector<std::string> parts;
    parts.reserve(members.size());
    for (const auto& [name, value] : members)
        parts.push_back(json_text(name) + ": " + value);
    return enclose('{', parts, '}', indent);
}

}  // namespace hako::state
