#include "api/json/codec.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "api/json/ascii.h"

namespace hako::test {
namespace {

using std::string_view_literals::operator""sv;

enum class Colour { kRed, kBlue };

struct Leaf {
    std::uint16_t mtu = 1500;
    std::optional<std::string> name;
    std::optional<bool> flag;

    bool operator==(const Leaf&) const = default;
};

struct Tree {
    std::string id;
    bool on = true;
    std::uint8_t byte = 7;
    std::uint64_t size = 0;
    Colour colour = Colour::kBlue;
    Leaf leaf;
    std::vector<Leaf> leaves;
    std::optional<std::vector<std::uint32_t>> numbers;

    bool operator==(const Tree&) const = default;
};

}  // namespace
}  // namespace hako::test

namespace hako::api::json {

template <>
struct Names<test::Colour> {
    static constexpr std::array list = {Name{test::Colour::kRed, "Red"}, Name{test::Colour::kBlue, "Blue"}};
};

template <>
struct Fields<test::Leaf> {
    static constexpr auto list =
        std::tuple(field("mtu", &test::Leaf::mtu, {.min = 68, .max = 65535}),
                   field("name", &test::Leaf::name), field("flag", &test::Leaf::flag));
};

template <>
struct Fields<test::Tree> {
    using Tree = test::Tree;
    static constexpr auto list = std::tuple(
        required("id", &Tree::id), field("on", &Tree::on), field("byte", &Tree::byte),
        field("size", &Tree::size, {.min = 1}), field("colour", &Tree::colour), field("leaf", &Tree::leaf),
        field("leaves", &Tree::leaves), field("numbers", &Tree::numbers, {.min = 2, .max = 9}));
};

}  // namespace hako::api::json

using namespace hako;
using namespace hako::api;
using namespace hako::test;

namespace {

std::string refusal(std::string_view text) {
    const auto tree = json::decode<Tree>(text);
    if (tree) return "taken";
    CHECK(tree.error().fault() == Fault::kInput);
    REQUIRE(tree.error().chain().size() == 2);
    CHECK(tree.error().chain()[0] == "Failed to deserialize JSON");
    return tree.error().chain()[1];
}

}  // namespace

TEST_CASE("a struct is read: defaults, null, unknown fields, nested ones") {
    const Tree least = json::decode<Tree>(R"({"id":"a"})"sv).value();
    Tree defaults;
    defaults.id = "a";
    CHECK(least == defaults);
    CHECK(json::decode<Tree>(R"({"id":"a","on":null,"byte":null,"leaf":null,"leaves":null,"numbers":null,
                                 "unknown":{"deep":[1,2,{}]},"kernel":null})"sv)
              .value() == least);
    const Tree full = json::decode<Tree>(R"( {"id":"\u00e9\ud83d\ude00","on":false,"byte":255,
        "size":18446744073709551615,"colour":"Red","leaf":{"mtu":68,"name":"x","flag":false},
        "leaves":[{},{"mtu":65535}],"numbers":[2,9]} )"sv)
                          .value();
    Tree expected;
    expected.id = "é😀";
    expected.on = false;
    expected.byte = 255;
    expected.size = std::numeric_limits<std::uint64_t>::max();
    expected.colour = Colour::kRed;
    expected.leaf.mtu = 68;
    expected.leaf.name = "x";
    expected.leaf.flag = false;
    expected.leaves.resize(2);
    expected.leaves[1].mtu = 65535;
    expected.numbers = {2, 9};
    CHECK(full == expected);
    CHECK(json::decode<Tree>(R"({"id":"a","id":"b"})"sv).value().id == "b");
}

TEST_CASE("each refusal names the place, what is wanted and what was given") {
    CHECK(refusal(R"({})") == "id: missing, and must be given");
    CHECK(refusal(R"({"id":null})") == "id: missing, and must be given");
    CHECK(refusal(R"([])") == "the body: an object is wanted, not an array");
    CHECK(refusal(R"({"id":1})") == "id: a text is wanted, not 1");
    // It may be a secret.
    CHECK(refusal(R"({"id":"a\u0000b"})") == "id: a text without NUL characters is wanted");
    CHECK(refusal(R"({"id":"a","on":"yes"})") == R"(on: true or false is wanted, not "yes")");
    CHECK(refusal(R"({"id":"a","on":0})") == "on: true or false is wanted, not 0");
    CHECK(refusal(R"({"id":"a","byte":256})") == "byte: a whole number from 0 to 255 is wanted, not 256");
    CHECK(refusal(R"({"id":"a","byte":-1})") == "byte: a whole number from 0 to 255 is wanted, not -1");
    CHECK(refusal(R"({"id":"a","byte":1.5})").starts_with("byte: a whole number from 0 to 255 is wanted"));
    CHECK(refusal(R"({"id":"a","byte":"1"})") == R"(byte: a whole number from 0 to 255 is wanted, not "1")");
    CHECK(refusal(R"({"id":"a","size":0})") == "size: a whole number from 1 up is wanted, not 0");
    CHECK(refusal(R"({"id":"a","size":18446744073709551616})")
              .starts_with("size: a whole number from 1 up is wanted"));
    CHECK(refusal(R"({"id":"a","colour":"Green"})") ==
          R"(colour: one of "Red" "Blue" is wanted, not "Green")");
    CHECK(refusal(R"({"id":"a","colour":0})") == R"(colour: one of "Red" "Blue" is wanted, not 0)");
    CHECK(refusal(R"({"id":"a","leaf":[]})") == "leaf: an object is wanted, not an array");
    CHECK(refusal(R"({"id":"a","leaf":{"mtu":67}})") ==
          "leaf.mtu: a whole number from 68 to 65535 is wanted, not 67");
    CHECK(refusal(R"({"id":"a","leaves":{}})") == "leaves: an array is wanted, not an object");
    CHECK(refusal(R"({"id":"a","leaves":[{},{"mtu":65536}]})") ==
          "leaves[1].mtu: a whole number from 68 to 65535 is wanted, not 65536");
    CHECK(refusal(R"({"id":"a","leaves":[null]})") == "leaves[0]: an object is wanted, not null");
    CHECK(refusal(R"({"id":"a","numbers":[2,10]})") ==
          "numbers[1]: a whole number from 2 to 9 is wanted, not 10");
    CHECK(refusal(R"({"id":"a","on":")" + std::string(100'000, 'x') + "\"}").size() < 200);
}

TEST_CASE("what is no JSON, or too much of it, is refused") {
    for (const std::string_view text : {""sv, "{"sv, "{}x"sv, "{'id':1}"sv, "\"\xff\""sv, "\"\xc0\x80\""sv,
                                        "\"\\ud800\""sv, "{\"id\":\"\n\"}"sv, "nul"sv, "\0"sv, "01"sv}) {
        CAPTURE(text);
        CHECK(refusal(text).find("no JSON text in UTF-8") != std::string::npos);
    }
    CHECK(refusal(R"({"id":"a",)").find("at byte 10") != std::string::npos);
    CHECK(refusal(std::string(1'000'000, '[')).find("nested deeper") != std::string::npos);
    std::string array = R"({"id":"a","numbers":[2)";
    for (std::size_t count = 1; count < json::kMaxElements; ++count)
        array += ",2";
    CHECK(refusal(array + "]}") == "taken");
    CHECK(refusal(array + ",2]}").find("an array of at most 4096 elements") != std::string::npos);
}

TEST_CASE("a struct is written in ASCII, without what is unset, and read back the same") {
    Tree least;
    least.id = "a";
    CHECK(json::encode(least) ==
          R"({"id":"a","on":true,"byte":7,"size":0,"colour":"Blue","leaf":{"mtu":1500},"leaves":[]})");
    Tree tree;
    tree.id = "\"\\\n\x7f é😀";
    tree.on = false;
    tree.byte = 1;
    tree.size = std::numeric_limits<std::uint64_t>::max();
    tree.colour = Colour::kRed;
    tree.leaf.name = "";
    tree.leaves.resize(1);
    tree.leaves[0].flag = true;
    tree.numbers.emplace();
    const std::string text = json::encode(tree);
    for (const char c : text)
        CHECK((c >= ' ' && c <= '\x7f'));
    CHECK(text.find(R"(\u00e9\ud83d\ude00)") != std::string::npos);
    CHECK(json::decode<Tree>(std::string_view(text)).value() == tree);

    const std::map<std::string, std::map<std::string, std::uint64_t>> counters = {
        {"_disk0", {{"read_bytes", 1}, {"write_bytes", std::numeric_limits<std::uint64_t>::max()}}}};
    CHECK(json::encode(counters) == R"({"_disk0":{"read_bytes":1,"write_bytes":18446744073709551615}})");
}

TEST_CASE("what is not UTF-8 in a text of this machine becomes a replacement character") {
    CHECK(json::quoted("a\xff\xe9z") == R"("a\ufffd\ufffdz")");
    CHECK(json::quoted("\xc0\x80") == R"("\ufffd\ufffd")");
    CHECK(json::quoted("\xed\xa0\x80") == R"("\ufffd\ufffd\ufffd")");
    CHECK(json::quoted("\xf4\x90\x80\x80") == R"("\ufffd\ufffd\ufffd\ufffd")");
    CHECK(json::quoted("\xe2\x82") == R"("\ufffd\ufffd")");
    CHECK(json::quoted("€\t\"\\") == R"("\u20ac\u0009\"\\")");
    CHECK(json::quoted("") == R"("")");
    CHECK(json::to_ascii("{\"a\":\"\xf0\x9f\x98\x80\"}") == R"({"a":"\ud83d\ude00"})");
}
