// How a struct says what its saved form looks like: once, for bytes, for JSON and for messages.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

namespace hako::state {

/// One member of a struct, in the order in which it is saved. Lists only grow, at their end: what was saved
/// once is read for ever.
template <typename Struct, typename Member>
struct Field {
    std::string_view name;
    Member Struct::* member;
    std::uint32_t max = 0;    ///< elements of a vector or bytes of a string, at most
    std::uint16_t since = 1;  ///< the format's version that brought it; older sections leave its default
    bool hex = false;         ///< JSON shows its numbers as "0x…"

    [[nodiscard]] constexpr Field in_hex() const {
        Field copy = *this;
        copy.hex = true;
        return copy;
    }
    /// A field that was appended in that version.
    [[nodiscard]] constexpr Field added_in(std::uint16_t version) const {
        Field copy = *this;
        copy.since = version;
        return copy;
    }
};

template <typename Struct, typename Member>
constexpr Field<Struct, Member> field(std::string_view name, Member Struct::* member) {
    return {.name = name, .member = member};
}

/// Addresses, masks and registers.
template <typename Struct, typename Member>
constexpr Field<Struct, Member> hex(std::string_view name, Member Struct::* member) {
    return {.name = name, .member = member, .hex = true};
}

/// A vector of at most `max` elements, or a string of at most so many bytes.
template <typename Struct, typename Member>
constexpr Field<Struct, Member> upto(std::uint32_t max, std::string_view name, Member Struct::* member) {
    return {.name = name, .member = member, .max = max};
}

/// Specialised for each struct, beside it: `static constexpr auto list = std::tuple(field("a", &S::a), …);`
/// Members are bool, integers, enums with Names, std::string, structs with Fields, and arrays, vectors and
/// optionals of these.
template <typename Struct>
struct Fields;

template <typename Enum>
struct Name {
    Enum value;
    std::string_view text;
};

/// Specialised for each enum: `static constexpr std::array list = {Name{Mode::kOff, "off"}, …};`
template <typename Enum>
struct Names;

template <typename T>
concept Described = requires { Fields<T>::list; };

template <typename T>
concept Named = std::is_enum_v<T> && requires { Names<T>::list; };

template <typename T>
concept Number = std::integral<T> && !std::same_as<T, bool>;

/// Of these, arrays and vectors are one piece: saved as such, shown as hexadecimal digits.
template <typename T>
concept Byte = Number<T> && sizeof(T) == 1;

/// A place in a state, as a list from the inside out: it is spelled only when there is something to say.
struct Place {
    const Place* outer = nullptr;
    std::string_view name;  ///< of a field; empty: an element, or the whole
    std::size_t index = 0;

    /// "queues[2].size"; "" for the whole.
    [[nodiscard]] std::string text() const;
};

}  // namespace hako::state
