#include "vmm/memory/host_memory.h"

#include <doctest/doctest.h>

using namespace hako;

TEST_CASE("what the host has") {
    const HostMemory host = HostMemory::parse(
        "MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable: 1024 kB\nSwapCached: 7 kB\n"
        "SwapTotal:      1024 kB\nSwapFree:        512 kB\n");
    CHECK(host.total == 3 * MiB);
    CHECK(host.available == 1536 * KiB);
    CHECK(HostMemory::parse("").total == 0);
    CHECK(HostMemory::read()->total >= HostMemory::read()->available);
}

TEST_CASE("a VM that the host cannot hold is refused, with the reason") {
    const HostMemory host{.total = 8 * GiB, .available = 2 * GiB};
    CHECK(check_fits({.size = 8 * GiB}, 2 * GiB, host));
    const auto larger = check_fits({.size = 9 * GiB}, 0, host);
    REQUIRE_FALSE(larger);
    CHECK(larger.error().text().find(format_size(9 * GiB)) != std::string::npos);
    CHECK_FALSE(check_fits({.size = 8 * GiB}, 3 * GiB, host));
    CHECK(check_fits({.size = 8 * GiB, .hugepages = true}, 3 * GiB, host));
}
