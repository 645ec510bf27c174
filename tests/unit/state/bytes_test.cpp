#include "vmm/state/bytes.h"

#include <doctest/doctest.h>

#include "tests/unit/state/fill.h"
#include "tests/unit/state/samples.h"
#include "vmm/state/difference.h"

using namespace hako;
using namespace hako::test;

namespace {

std::vector<std::byte> bytes(std::initializer_list<int> values) {
    std::vector<std::byte> out;
    for (const int value : values)
        out.push_back(static_cast<std::byte>(value));
    return out;
}

template <typename T>
std::string refusal(std::vector<std::byte> data) {
    const auto value = state::from_bytes<T>(data);
    REQUIRE_FALSE(value);
    CHECK(value.error().fault() == Fault::kInput);
    return value.error().text();
}

}  // namespace

TEST_CASE("every kind of field comes back as it was") {
    const Sample sample = filled<Sample>();
    const auto data = state::to_bytes(sample);
    REQUIRE(data);
    const auto back = state::from_bytes<Sample>(*data);
    REQUIRE(back);
    CHECK(state::differences(sample, *back).empty());
    CHECK(back->points.size() == 2);
    CHECK(back->color == Color::kBlue);

    const Sample empty;
    const auto small = state::from_bytes<Sample>(*state::to_bytes(empty));
    REQUIRE(small);
    CHECK(state::differences(empty, *small).empty());
}

TEST_CASE("the bytes are what the format says") {
    const Sample sample{.flag = true,
                        .wide = 0x0102030405060708,
                        .color = Color::kBlue,
                        .text = "ab",
                        .mac = {1, 0, 2, 0, 0, 0},
                        .pair = {0x1122, 3},
                        .raw = {1, 0},
                        .blob = {9},
                        .points = {{.x = 5, .y = -2}},
                        .point = std::nullopt};
    CHECK(state::to_bytes(sample).value() ==
          bytes({1,                                                   // flag
                 8,    7,    6, 5, 4,   3,   2,    1,                 // wide
                 4,                                                   // color
                 2,    0,    0, 0, 'a', 'b',                          // text
                 3,    0,    0, 0, 1,   0,   2,                       // mac without its last zeros
                 0x22, 0x11, 3, 0,                                    // pair
                 1,    0,    0, 0, 0,   0,   0,    0,                 // raw
                 1,    0,    0, 0, 9,                                 // blob
                 1,    0,    0, 0, 5,   0,   0xfe, 0xff, 0xff, 0xff,  // points
                 0}));                                                // point
}

TEST_CASE("bytes that are cut anywhere are refused, and name the field") {
    const auto data = state::to_bytes(filled<Sample>()).value();
    for (std::size_t size = 0; size < data.size(); ++size) {
        const auto cut = state::from_bytes<Sample>(std::span(data).first(size));
        REQUIRE_FALSE(cut);
    }
    auto longer = data;
    longer.push_back(std::byte{0});
    CHECK(refusal<Sample>(longer) == "1 bytes are left over");
    CHECK(refusal<Sample>({}) == "flag: 1 bytes are wanted, 0 are left");
    const auto inner = state::from_bytes<Sample>(std::span(data).first(data.size() - 2));
    CHECK(inner.error().text() == "point.y: 4 bytes are wanted, 2 are left");
}

TEST_CASE("values without a meaning are refused") {
    auto data = state::to_bytes(Sample{}).value();
    data[0] = std::byte{2};
    CHECK(refusal<Sample>(data) == "flag: 2 is neither true nor false");
    data[0] = std::byte{1};
    data[9] = std::byte{2};
    CHECK(refusal<Sample>(data) == "color: 2 has no meaning");
}

TEST_CASE("a count is held to its limit and to what is there, before anything is allocated") {
    auto data = state::to_bytes(Sample{}).value();
    const std::size_t text = 10;
    data[text] = std::byte{9};
    CHECK(refusal<Sample>(data) == "text: 9 elements, at most 8 are allowed");
    for (std::size_t i = 0; i < 4; ++i)
        data[text + i] = std::byte{0xff};
    CHECK(refusal<Sample>(data) == "text: 4294967295 elements, at most 8 are allowed");

    data = state::to_bytes(Sample{}).value();
    const std::size_t points = data.size() - 5;
    data[points] = std::byte{3};
    CHECK(refusal<Sample>(data) == "points: 3 elements do not fit in the 1 bytes left");
    data.resize(data.size() + 4);
    CHECK(refusal<Sample>(data) == "points[0].y: 4 bytes are wanted, 3 are left");
}

TEST_CASE("what nobody could read is not written") {
    Sample sample;
    sample.blob.resize(17);
    const auto data = state::to_bytes(sample);
    REQUIRE_FALSE(data);
    CHECK(data.error().text() == "blob: 17 elements are more than the 16 that a state has room for");
}

TEST_CASE("an older version lacks the fields that came later: they keep their defaults") {
    static_assert(state::Version<Old>::value == 1);
    static_assert(state::Version<New>::value == 2);
    static_assert(state::Version<Outer>::value == 2, "a struct is as young as what is in it");
    const auto old = state::to_bytes(Old{.first = 9}).value();
    const auto read = state::from_bytes<New>(old, 1);
    REQUIRE(read);
    CHECK(read->first == 9);
    CHECK(read->second == 0x55aa);
    CHECK_FALSE(state::from_bytes<New>(old, 2));

    // Inside another struct, too: what follows it is found.
    const auto outer = state::from_bytes<Outer>(bytes({1, 2}), 1);
    REQUIRE(outer);
    CHECK(outer->inner.second == 0x55aa);
    CHECK(outer->last == 2);
}
