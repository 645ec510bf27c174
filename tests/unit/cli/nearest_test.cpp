#include <doctest/doctest.h>

#include <array>
#include <string>

#include "tools/hako/cli_nearest.h"

using namespace hako::cli;

TEST_CASE("a slip of the finger is recognised, another word is not") {
    const std::array<std::string_view, 3> words = {"--kernel", "--disk", "--cpus"};
    CHECK(nearest("--kernal", words) == "--kernel");
    CHECK(nearest("--dsik", words) == "--disk");
    CHECK(nearest("--cpu", words) == "--cpus");
    CHECK(nearest("--network", words).empty());
    CHECK(nearest("", words).empty());
    CHECK(nearest(std::string(100000, 'x'), words).empty());
    CHECK(did_you_mean("--dis", words) == "; did you mean --disk?");
    CHECK(did_you_mean("--something", words).empty());
}
