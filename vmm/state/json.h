// State as JSON text, for people: numbers, names, and bytes as hexadecimal digits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "vmm/state/fields.h"

namespace hako::state {

// Text of a JSON value whose first line stands `indent` columns in; what is short stays on one line.

[[nodiscard]] std::string json_text(std::string_view text);  ///< ASCII, quoted and escaped
[[nodiscard]] std::string json_hex(std::uint64_t value);     ///< "0x…"
[[nodiscard]] std::string json_bytes(std::span<const std::byte> data);
[[nodiscard]] std::string json_array(std::span<const std::string> elements, std::size_t indent);

using JsonMember = std::pair<std::string_view, std::string>;  ///< name and text of the value
[[nodiscard]] std::string json_object(std::span<const JsonMember> members, std::size_t indent);

/// How many columns an array's elements and an object's members stand further in.
inline constexpr std::size_t kJsonIndent = 2;

template <Described T>
[[nodiscard]] std::string to_json(const T& value, std::size_t indent = 0);

inline std::string show(bool, std::size_t, bool value) {
    return value ? "true" : "false";
}

template <Number T>
std::string show(bool hex, std::size_t, T value) {
    if (hex) return json_hex(static_cast<std::uint64_t>(value));
    return std::to_string(value);
}

template <Named T>
std::string show(bool, std::size_t, T value) {
    for (const auto& name : Names<T>::list)
        if (name.value == value) return json_text(name.text);
    return std::to_string(static_cast<std::uint64_t>(value));
}

inline std::string show(bool, std::size_t, const std::string& value) {
    return json_text(value);
}

template <Described T>
std::string show(bool, std::size_t indent, const T& value) {
    return to_json(value, indent);
}

template <typename T>
std::string show(bool hex, std::size_t indent, const std::vector<T>& value);
template <typename T, std::size_t kCount>
std::string show(bool hex, std::size_t indent, const std::array<T, kCount>& value);
template <typename T, std::size_t kCount>
std::string show(bool hex, std::size_t indent, const T (&value)[kCount]);

template <typename T>
std::string show(bool hex, std::size_t indent, const std::optional<T>& value) {
    return value ? show(hex, indent, *value) : "null";
}

template <typename T>
std::string show_all(bool hex, std::size_t indent, std::span<const T> value) {
    if constexpr (Byte<T>) {
        return json_bytes(std::as_bytes(value));
    } else {
        std::vector<std::string> elements;
        elements.reserve(value.size());
        for (const T& element : value)
            elements.push_back(show(hex, indent + kJsonIndent, element));
        return json_array(elements, indent);
    }
}

template <typename T>
std::string show(bool hex, std::size_t indent, const std::vector<T>& value) {
    return show_all(hex, indent, std::span<const T>(value));
}
template <typename T, std::size_t kCount>
std::string show(bool hex, std::size_t indent, const std::array<T, kCount>& value) {
    return show_all(hex, indent, std::span<const T>(value));
}
template <typename T, std::size_t kCount>
std::string show(bool hex, std::size_t indent, const T (&value)[kCount]) {
    return show_all(hex, indent, std::span<const T>(value));
}

template <Described T>
std::string to_json(const T& value, std::size_t indent) {
    std::vector<JsonMember> members;
    std::apply(
        [&](const auto&... field) {
            (members.emplace_back(field.name, show(field.hex, indent + kJsonIndent, value.*field.member)),
             ...);
        },
        Fields<T>::list);
    return json_object(members, indent);
}

}  // namespace hako::state
