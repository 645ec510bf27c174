// Structs from JSON and JSON from structs, by their Fields.
//
// Reading: unknown fields are passed over; null is the same as a field left out; numbers are checked against
// their type and their Range. Writing: optionals that are unset are left out.
#pragma once

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "vmm/base/result.h"

namespace hako::api::json {

template <typename T>
concept Described = requires { Fields<T>::list; };

template <typename T>
concept Named = std::is_enum_v<T> && requires { Names<T>::list; };

// Each kind of value is read into `out`.

inline Result<> read(const boost::json::value& value, const Place& place, Range, bool& out) {
    out = HAKO_TRY(read_bool(value, place));
    return {};
}

inline Result<> read(const boost::json::value& value, const Place& place, Range, std::string& out) {
    out = HAKO_TRY(read_text(value, place));
    return {};
}

template <std::unsigned_integral T>
Result<> read(const boost::json::value& value, const Place& place, Range range, T& out) {
    range.max = std::min<std::uint64_t>(range.max, std::numeric_limits<T>::max());
    out = static_cast<T>(HAKO_TRY(read_number(value, place, range)));
    return {};
}

template <Named T>
Result<> read(const boost::json::value& value, const Place& place, Range, T& out) {
    constexpr auto& list = Names<T>::list;
    std::array<std::string_view, list.size()> names;
    for (std::size_t index = 0; index < list.size(); ++index)
        names[index] = list[index].text;
    out = list[HAKO_TRY(read_name(value, place, names))].value;
    return {};
}

template <Described T>
Result<> read(const boost::json::value& value, const Place& place, Range range, T& out);

template <typename T>
Result<> read(const boost::json::value& value, const Place& place, Range range, std::optional<T>& out) {
    return read(value, place, range, out.emplace());
}

template <typename T>
Result<> read(const boost::json::value& value, const Place& place, Range range, std::vector<T>& out) {
    const auto& array = *HAKO_TRY(read_array(value, place));
    out.clear();
    out.reserve(array.size());
    for (const boost::json::value& element : array) {
        const Place at{.outer = &place, .name = {}, .index = out.size()};
        HAKO_TRY(read(element, at, range, out.emplace_back()));
    }
    return {};
}

template <Described T>
Result<> read(const boost::json::value& value, const Place& place, Range, T& out) {
    const auto& object = *HAKO_TRY(read_object(value, place));
    Result<> result;
    const auto read_field = [&](const auto& field) -> Result<> {
        const Place at{.outer = &place, .name = field.name};
        const boost::json::value* const given = HAKO_TRY(find(object, at, field.required));
        if (given == nullptr) return {};
        return read(*given, at, field.range, out.*field.member);
    };
    std::apply([&](const auto&... field) { (void)((result = read_field(field)).has_value() && ...); },
               Fields<T>::list);
    return result;
}

/// A struct from a JSON value. Refusals are a Fault::kInput with the place in their text.
template <Described T>
[[nodiscard]] Result<T> decode_value(const boost::json::value& value) {
    T out{};
    HAKO_TRY(read(value, Place{}, Range{}, out));
    return out;
}

/// A struct from the body of a request.
template <Described T>
[[nodiscard]] Result<T> decode(std::string_view text) {
    constexpr std::string_view kWhat = "Failed to deserialize JSON";
    const boost::json::value value = HAKO_TRY_WRAP(parse(text), "{}", kWhat);
    return HAKO_TRY_WRAP(decode_value<T>(value), "{}", kWhat);
}

inline boost::json::value to_value(bool value) {
    return value;
}
inline boost::json::value to_value(const std::string& text) {
    return boost::json::string(text.data(), text.size());
}
template <std::unsigned_integral T>
boost::json::value to_value(T number) {
    return static_cast<std::uint64_t>(number);
}
template <Named T>
boost::json::value to_value(T value) {
    for (const auto& name : Names<T>::list)
        if (name.value == value) return boost::json::string(name.text.data(), name.text.size());
    return nullptr;
}
template <Described T>
boost::json::value to_value(const T& value);

template <typename T>
boost::json::value to_value(const std::vector<T>& elements) {
    boost::json::array array;
    array.reserve(elements.size());
    for (const T& element : elements)
        array.push_back(to_value(element));
    return array;
}

/// An object with a field for each key.
template <typename T>
boost::json::value to_value(const std::map<std::string, T>& map) {
    boost::json::object object;
    for (const auto& [key, value] : map)
        object.emplace(key, to_value(value));
    return object;
}

template <Described T>
boost::json::value to_value(const T& value) {
    boost::json::object object;
    const auto write = [&]<typename Member>(std::string_view name, const Member& member) {
        const boost::json::string_view key(name.data(), name.size());
        if constexpr (requires { member.has_value(); }) {
            if (member) object.emplace(key, to_value(*member));
        } else {
            object.emplace(key, to_value(member));
        }
    };
    std::apply([&](const auto&... field) { (write(field.name, value.*field.member), ...); }, Fields<T>::list);
    return object;
}

/// A struct as one line of ASCII.
template <typename T>
[[nodiscard]] std::string encode(const T& value) {
    return to_text(to_value(value));
}

}  // namespace hako::api::json
