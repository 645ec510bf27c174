#include "vmm/seed/yaml.h"

#include <doctest/doctest.h>

using namespace hako;
using seed::parse_mapping;

namespace {

std::string error_of(std::string_view text) {
    const auto result = parse_mapping(text);
    if (result) return "";
    CHECK(result.error().fault() == Fault::kInput);
    return result.error().text();
}

std::string nested(std::size_t depth) {
    return "a: " + std::string(depth, '[') + std::string(depth, ']') + "\n";
}

}  // namespace

TEST_CASE("top-level keys and the instance-id are found, not those further down") {
    const auto block = parse_mapping("# é\nfirst: {instance-id: inner}\nsecond:\n  - instance-id: x\n");
    REQUIRE(block);
    REQUIRE(block->has_value());
    CHECK((*block)->keys == std::vector<std::string>{"first", "second"});
    CHECK((*block)->find("instance-id") == nullptr);
    CHECK_FALSE((*block)->flow);
    CHECK((*block)->begin == 5);  // bytes, not characters

    const auto flow = parse_mapping(" {\"a\": [1, 2], \"instance-id\": \"web-1\"}");
    REQUIRE(flow);
    REQUIRE(flow->has_value());
    CHECK((*flow)->flow);
    CHECK((*flow)->begin == 1);
    CHECK((*flow)->values.at("instance-id") == "web-1");
    CHECK((*flow)->values.at("a").empty());

    const auto network = parse_mapping("network:\n  version: 2\n  a: {version: 3}\nother: {version: 4}\n");
    REQUIRE(network);
    REQUIRE(network->has_value());
    CHECK((*network)->values ==
          std::map<std::string, std::string>{
              {"network", ""}, {"network/version", "2"}, {"network/a", ""}, {"other", ""}});
}

TEST_CASE("a text with comments only has no mapping, which is no error") {
    for (const char* text : {"", "\n\n", "# nothing\n"}) {
        const auto result = parse_mapping(text);
        REQUIRE(result);
        CHECK_FALSE(result->has_value());
    }
}

TEST_CASE("what does not parse is told with its line and column") {
    CHECK(error_of("a: 1\nb: [1, 2\nc: 3\n").starts_with("line "));
    CHECK(error_of("a: 1\n  b: 2\n").find("line 2, column 4") != std::string::npos);
    CHECK(error_of("a: \"open").find("line 1, column") != std::string::npos);
    CHECK(error_of("a: *nobody\n").find("line 1, column 4") != std::string::npos);
}

TEST_CASE("anything but one mapping is refused") {
    CHECK(error_of("- a\n- b\n").find("not a YAML mapping") != std::string::npos);
    CHECK(error_of("just words\n").find("not a YAML mapping") != std::string::npos);
    CHECK(error_of("a: 1\n---\nb: 2\n").find("more than one") != std::string::npos);
}

TEST_CASE("what is not UTF-8 is refused with its line") {
    CHECK(error_of("a: 1\nb: \xff\n") == "line 2: not UTF-8");
    CHECK(error_of("a: \xc0\xaf\n") == "line 1: not UTF-8");          // overlong
    CHECK(error_of("a: \xed\xa0\x80\n") == "line 1: not UTF-8");      // surrogate
    CHECK(error_of("a: \xf4\x90\x80\x80\n") == "line 1: not UTF-8");  // beyond U+10FFFF
    CHECK(error_of("a: \xe2\x82") == "line 1: not UTF-8");            // cut short
    CHECK(error_of("a: é€😀\n").empty());
}

TEST_CASE("depth is bounded") {
    CHECK(error_of(nested(99)).empty());
    CHECK(error_of(nested(100)).find("nested deeper") != std::string::npos);
    CHECK(error_of(nested(200'000)).find("nested deeper") != std::string::npos);
}

TEST_CASE("aliases that multiply are refused, plain ones are not") {
    std::string bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int level = 1; level < 10; ++level) {
        const std::string below = "*l" + std::to_string(level - 1);
        std::string line = "l" + std::to_string(level) + ": &l" + std::to_string(level) + " [" + below;
        for (int i = 1; i < 10; ++i)
            line += ", " + below;
        bomb += line + "]\n";
    }
    CHECK(error_of(bomb).find("aliases are expanded") != std::string::npos);
    CHECK(error_of("a: &x {k: v}\nb: *x\nc: [*x, *x]\n").empty());
    CHECK(error_of("a: &x [*x]\n").find("very node") != std::string::npos);
}
