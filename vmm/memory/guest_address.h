// A guest-physical address, kept apart from host numbers by its type.
#pragma once

#include <compare>
#include <cstdint>

namespace hako {

struct GuestAddress {
    std::uint64_t value = 0;

    constexpr auto operator<=>(const GuestAddress&) const = default;
    /// Plain 64-bit addition; accessors of GuestMemory check ranges, so a wrapped sum only fails there.
    constexpr GuestAddress operator+(std::uint64_t offset) const { return {value + offset}; }
};

}  // namespace hako
