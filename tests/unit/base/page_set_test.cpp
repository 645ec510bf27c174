#include "vmm/memory/page_set.h"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

using namespace hako;

namespace {

using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  ///< first page and number of pages

Runs runs(const PageSet& pages, std::uint64_t longest = 1024) {
    Runs found;
    pages.for_each_run(longest * kPageSize, [&](std::uint64_t offset, std::uint64_t length) {
        found.emplace_back(offset / kPageSize, length / kPageSize);
    });
    return found;
}

PageSet of(std::uint64_t size, const Runs& content) {
    PageSet pages(size * kPageSize);
    for (const auto& [first, count] : content)
        for (std::uint64_t page = first; page < first + count; ++page)
            pages.insert(page);
    return pages;
}

}  // namespace

TEST_CASE("runs are found wherever words begin") {
    for (const Runs& content :
         {Runs{}, Runs{{0, 1}}, Runs{{63, 1}}, Runs{{63, 2}}, Runs{{0, 64}}, Runs{{0, 256}},
          Runs{{1, 62}, {64, 1}}, Runs{{60, 100}, {162, 3}, {255, 1}}}) {
        const PageSet pages = of(256, content);
        CHECK(runs(pages) == content);
        std::uint64_t count = 0;
        for (const auto& [first, length] : content)
            count += length;
        CHECK(pages.count() == count);
    }
}

TEST_CASE("long runs are cut") {
    CHECK(runs(of(256, {{10, 100}}), 40) == Runs{{10, 40}, {50, 40}, {90, 20}});
    CHECK(runs(of(256, {{10, 80}, {91, 2}}), 40) == Runs{{10, 40}, {50, 40}, {91, 2}});
    CHECK(runs(of(128, {{63, 2}}), 1) == Runs{{63, 1}, {64, 1}});
}

TEST_CASE("sets are added up") {
    PageSet pages = of(128, {{1, 2}});
    pages.insert_all(of(128, {{2, 70}}));
    CHECK(runs(pages) == Runs{{1, 71}});
    CHECK(pages.contains(71));
    CHECK_FALSE(pages.contains(72));
}
