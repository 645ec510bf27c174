// Structs as a device might have them, with everything that a state may hold.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vmm/state/fields.h"

namespace hako::test {

enum class Color : std::uint8_t { kRed = 1, kBlue = 4 };

struct Point {
    std::uint16_t x = 0;
    std::int32_t y = -1;
};

struct Sample {
    bool flag = false;
    std::uint64_t wide = 7;
    Color color = Color::kRed;
    std::string text;
    std::array<std::uint8_t, 6> mac{};
    std::array<std::uint16_t, 2> pair{};
    std::uint32_t raw[2] = {};
    std::vector<std::uint8_t> blob;
    std::vector<Point> points;
    std::optional<Point> point;
};

/// What an older and a newer hako know of the same struct.
struct Old {
    std::uint8_t first = 0;
};
struct New {
    std::uint8_t first = 0;
    std::uint16_t second = 0x55aa;
};
struct Outer {
    New inner;
    std::uint8_t last = 3;
};

}  // namespace hako::test

namespace hako::state {

template <>
struct Names<test::Color> {
    static constexpr std::array list = {Name{test::Color::kRed, "red"}, Name{test::Color::kBlue, "blue"}};
};

template <>
struct Fields<test::Point> {
    using T = test::Point;
    static constexpr auto list = std::tuple(field("x", &T::x), field("y", &T::y));
};

template <>
struct Fields<test::Sample> {
    using T = test::Sample;
    static constexpr auto list = std::tuple(
        field("flag", &T::flag), hex("wide", &T::wide), field("color", &T::color), upto(8, "text", &T::text),
        field("mac", &T::mac), field("pair", &T::pair), field("raw", &T::raw), upto(16, "blob", &T::blob),
        upto(3, "points", &T::points), field("point", &T::point));
};

template <>
struct Fields<test::Old> {
    static constexpr auto list = std::tuple(field("first", &test::Old::first));
};

template <>
struct Fields<test::New> {
    static constexpr auto list =
        std::tuple(field("first", &test::New::first), field("second", &test::New::second).added_in(2));
};

template <>
struct Fields<test::Outer> {
    static constexpr auto list =
        std::tuple(field("inner", &test::Outer::inner), field("last", &test::Outer::last));
};

}  // namespace hako::state
