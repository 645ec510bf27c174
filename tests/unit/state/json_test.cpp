#include "vmm/state/json.h"

#include <doctest/doctest.h>

#include "tests/unit/state/fill.h"
#include "tests/unit/state/samples.h"
#include "vmm/state/difference.h"

using namespace hako;
using namespace hako::test;

TEST_CASE("what is short is one line") {
    CHECK(state::to_json(Point{.x = 3, .y = -4}) == R"({"x": 3, "y": -4})");
    CHECK(state::to_json(Outer{}) == R"({"inner": {"first": 0, "second": 21930}, "last": 3})");
}

TEST_CASE("what is long is a line each, and each kind has its form") {
    Sample sample{.wide = 0xabc, .text = "a\"\n\xff", .blob = {0x0f, 0xa0}, .points = {{1, 2}, {3, 4}}};
    sample.point = Point{.x = 5, .y = 6};
    CHECK(state::to_json(sample) == R"({
  "flag": false,
  "wide": "0xabc",
  "color": "red",
  "text": "a\"\u000a\u00ff",
  "mac": "000000000000",
  "pair": [0, 0],
  "raw": [0, 0],
  "blob": "0fa0",
  "points": [{"x": 1, "y": 2}, {"x": 3, "y": 4}],
  "point": {"x": 5, "y": 6}
})");
}

TEST_CASE("differences are named") {
    const Sample a = filled<Sample>();
    CHECK(state::differences(a, a).empty());
    Sample b = a;
    b.wide ^= 1;
    b.points[1].y = 0;
    b.mac[5] = 0;
    b.blob.clear();
    b.point.reset();
    CHECK(state::differences(Sample{.color = Color::kRed}, Sample{.color = Color::kBlue}) ==
          std::vector<std::string>{"color: \"red\", and \"blue\""});
    const auto found = state::differences(a, b);
    REQUIRE(found.size() == 5);
    CHECK(found[0].starts_with("wide: \"0x"));
    CHECK(found[1].starts_with("mac[5]: "));
    CHECK(found[2] == "blob: 2 elements, and 0");
    CHECK(found[3].starts_with("points[1].y: "));
    CHECK(found[4] == "point: there, and missing");
}
