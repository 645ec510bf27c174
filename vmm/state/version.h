// The version of a struct's saved form: that of its youngest field.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "vmm/state/fields.h"

namespace hako::state {

template <typename T>
struct Version {
    static constexpr std::uint16_t value = 1;
};
template <typename T>
struct Version<std::vector<T>> : Version<T> {};
template <typename T>
struct Version<std::optional<T>> : Version<T> {};
template <typename T, std::size_t kCount>
struct Version<std::array<T, kCount>> : Version<T> {};
template <typename T, std::size_t kCount>
struct Version<T[kCount]> : Version<T> {};

/// Of a field, what it holds included.
template <typename Struct, typename Member>
constexpr std::uint16_t version_of(const Field<Struct, Member>& field) {
    return std::max(field.since, Version<Member>::value);
}

/// A struct that has not changed keeps its version, and older hakos go on reading it.
template <Described T>
struct Version<T> {
    static constexpr std::uint16_t value =
        std::apply([](const auto&... field) { return std::max({std::uint16_t{1}, version_of(field)...}); },
                   Fields<T>::list);
};

}  // namespace hako::state
