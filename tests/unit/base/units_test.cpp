#include "vmm/base/units.h"

#include <doctest/doctest.h>

#include "vmm/base/log.h"
#include "vmm/base/result.h"

using namespace hako;

TEST_CASE("sizes are read with binary suffixes, and nothing else") {
    CHECK(parse_size("4096") == 4096);
    CHECK(parse_size("512M") == 512 * MiB);
    CHECK(parse_size("2GiB") == 2 * GiB);
    CHECK(parse_size("1k") == KiB);
    CHECK(parse_size("7b") == 7);
    for (const char* bad :
         {"", "M", "-1", "1.5G", "1X", "1 M", "1MM", "0x10", "99999999999999999999", "16777216T"})
        CHECK_FALSE_MESSAGE(parse_size(bad), bad);
}

TEST_CASE("sizes are printed in the largest unit that divides them") {
    CHECK(format_size(0) == "0 bytes");
    CHECK(format_size(4097) == "4097 bytes");
    CHECK(format_size(512 * MiB) == "512 MiB");
}

TEST_CASE("an error carries its chain, outermost first") {
    const auto inner = []() -> Result<int> { return fail_errno(ENOENT, "cannot open {}", "x.img"); };
    const auto outer = [&]() -> Result<int> { return HAKO_TRY_WRAP(inner(), "disk {}", 3); };
    const auto result = outer();
    REQUIRE_FALSE(result);
    CHECK(result.error().text() == "disk 3: cannot open x.img: No such file or directory (ENOENT)");
    CHECK(result.error().fault() == Fault::kHost);
}

TEST_CASE("a log limit lets one line through and counts the rest") {
    LogLimit limit(std::chrono::hours(1));
    std::uint64_t suppressed = 0;
    CHECK(limit.allow(suppressed));
    CHECK(suppressed == 0);
    CHECK_FALSE(limit.allow(suppressed));
    LogLimit none(std::chrono::nanoseconds(0));
    CHECK(none.allow(suppressed));
    CHECK(none.allow(suppressed));
}
