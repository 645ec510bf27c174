// How a struct says what its JSON looks like: once, for reading and for writing.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

namespace hako::api::json {

/// What a number may be; of an array of numbers, each of them.
struct Range {
    std::uint64_t min = 0;
    std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
};

template <typename Struct, typename Member>
struct Field {
    std::string_view name;
    Member Struct::* member;
    Range range;
    bool required;
};

/// A field that may be left out, or null: it keeps the value that the struct gives it.
template <typename Struct, typename Member>
constexpr Field<Struct, Member> field(std::string_view name, Member Struct::* member, Range range = {}) {
    return {.name = name, .member = member, .range = range, .required = false};
}

template <typename Struct, typename Member>
constexpr Field<Struct, Member> required(std::string_view name, Member Struct::* member, Range range = {}) {
    return {.name = name, .member = member, .range = range, .required = true};
}

/// Specialised for each struct: `static constexpr auto list = std::tuple(field("path", &Disk::path), …);`
/// Members are bool, unsigned integers, std::string, enums with Names, structs with Fields, and vectors and
/// optionals of these.
template <typename Struct>
struct Fields;

template <typename Enum>
struct Name {
    Enum value;
    std::string_view text;
};

/// Specialised for each enum: `static constexpr std::array list = {Name{Mode::kOff, "Off"}, …};`
template <typename Enum>
struct Names;

}  // namespace hako::api::json
