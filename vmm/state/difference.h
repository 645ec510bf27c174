// What two states of one kind do not have in common, by name.
#pragma once

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "vmm/state/json.h"

namespace hako::state {

/// No more differences than this are told.
inline constexpr std::size_t kMaxDifferences = 64;

template <typename T>
void compare(const Place& place, bool hex, const T& a, const T& b, std::vector<std::string>& out);

template <typename T>
void compare_all(const Place& place, bool hex, std::span<const T> a, std::span<const T> b,
                 std::vector<std::string>& out) {
    if (a.size() != b.size()) {
        out.push_back(place.text() + ": " + std::to_string(a.size()) + " elements, and " +
                      std::to_string(b.size()));
        return;
    }
    for (std::size_t index = 0; index < a.size(); ++index)
        compare(Place{.outer = &place, .name = {}, .index = index}, hex, a[index], b[index], out);
}

template <typename T>
void compare(const Place& place, bool hex, const T& a, const T& b, std::vector<std::string>& out) {
    if (out.size() >= kMaxDifferences) return;
    if constexpr (Described<T>) {
        std::apply(
            [&](const auto&... field) {
                (compare(Place{.outer = &place, .name = field.name}, field.hex, a.*field.member,
                         b.*field.member, out),
                 ...);
            },
            Fields<T>::list);
    } else if constexpr (requires { std::span(a); } && !requires { a.c_str(); }) {
        using Element = std::remove_cvref_t<decltype(*std::begin(a))>;
        compare_all(place, hex, std::span<const Element>(a), std::span<const Element>(b), out);
    } else if constexpr (requires { a.has_value(); }) {
        if (a && b)
            compare(place, hex, *a, *b, out);
        else if (a.has_value() != b.has_value())
            out.push_back(place.text() + (a ? ": there, and missing" : ": missing, and there"));
    } else if (a != b) {
        out.push_back(place.text() + ": " + show(hex, 0, a) + ", and " + show(hex, 0, b));
    }
}

/// "queues[2].size: 128, and 256" for each field that differs; empty if the two are equal.
template <Described T>
[[nodiscard]] std::vector<std::string> differences(const T& a, const T& b) {
    std::vector<std::string> out;
    compare(Place{}, false, a, b, out);
    return out;
}

}  // namespace hako::state
