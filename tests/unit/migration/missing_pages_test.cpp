// Pages that come after the guest runs: the list of them, their order, and what catches who touches one.
#include "migration/memory/missing_pages.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/mman.h>

#include <thread>

#include "migration/memory/latencies.h"
#include "migration/memory/missing_list.h"
#include "migration/memory/page_queue.h"
#include "migration/memory/userfault_trap.h"
#include "tests/unit/migration/fake_machines.h"

using namespace hako;
using namespace hako::migration;
using namespace hako::migration::testing;

namespace {

void set(PageBits& bits, std::size_t region, std::uint64_t page) {
    bits[region][page / 64] |= std::uint64_t{1} << page % 64;
}

/// Waits for the trap to tell of somebody who waits, and gives what is to be asked for.
std::vector<PagePlace> next_faults(PageTrap& trap, MissingPages& missing) {
    pollfd polled{.fd = trap.fd(), .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&polled, 1, 60'000) == 1);
    std::vector<PagePlace> wanted;
    while (const std::optional<PagePlace> page = missing.take_fault().value())
        wanted.push_back(*page);
    return wanted;
}

}  // namespace

TEST_CASE("missing pages: the list comes back as it was, and nothing beyond the guest's memory is taken") {
    const MemoryLayout layout{.regions = {{.address = 0, .bytes = 70'000 * kPageSize},
                                          {.address = 4 * GiB, .bytes = 70 * kPageSize}}};
    PageBits bits = make_bits(layout, false);
    for (const std::uint64_t page : {0U, 65'535U, 65'536U, 69'999U})
        set(bits, 0, page);
    set(bits, 1, 69);
    PageBits back = make_bits(layout, false);
    for (const Missing& part : split_missing(bits))
        CHECK(add_missing(back, layout, part));
    CHECK(back == bits);
    CHECK(split_missing(bits).size() == 3);
    CHECK(split_missing(make_bits(layout, false)).size() == 1);

    const auto refused = [&](const Missing& part) {
        const auto added = add_missing(back, layout, part);
        return !added && added.error().event == Event::kGarbage;
    };
    CHECK(refused({.region = 2, .words = {1}}));
    CHECK(refused({.region = 0, .first = 1, .words = {1}}));
    CHECK(refused({.region = 1, .first = 128, .words = {1}}));
    CHECK(refused({.region = 1, .first = ~std::uint64_t{63}, .words = {1}}));
    CHECK(refused({.region = 1, .words = {0, 1 << 6}}));  // page 70 of 70
    CHECK(refused({.region = 1, .words = {0, 0, 0}}));
    CHECK(back == bits);
}

TEST_CASE("missing pages: what is asked for goes first, the next ones behind it, and each once") {
    PageBits bits = make_bits(small_layout(), true);
    PageQueue queue(bits);
    const auto next = [&] { return queue.next(false, milliseconds(0)).value(); };
    CHECK(next().run == PageRun{.first = 0, .pages = PageQueue::kBackgroundPages});
    CHECK(queue.ask({.region = 0, .first = 1000}, 1));
    CHECK(queue.ask({.region = 0, .first = 5}, 1));  // has gone
    const auto asked = next();
    CHECK(asked.asked_for);
    CHECK(asked.run == PageRun{.first = 1000, .pages = 1});
    const auto behind = next();
    CHECK_FALSE(behind.asked_for);
    CHECK(behind.run.first == 1001);
    CHECK_FALSE(queue.next(true, milliseconds(0)));
    std::uint64_t pages = 2 * PageQueue::kBackgroundPages + 1;
    while (const auto item = queue.next(false, milliseconds(0)))
        pages += item->run.pages;
    CHECK(pages == small_layout().pages());
    CHECK(queue.over());
}

TEST_CASE("missing pages: quantiles of times are good to a quarter") {
    Latencies times;
    CHECK(times.quantile_ns(50) == 0);
    for (int count = 1; count <= 100; ++count)
        times.add(std::chrono::microseconds(count));
    CHECK(times.count() == 100);
    CHECK(times.max_ns() == 100'000);
    CHECK(times.quantile_ns(50) >= 50'000);
    CHECK(times.quantile_ns(50) <= 63'000);
    CHECK(times.quantile_ns(99) >= 99'000);
    CHECK(times.quantile_ns(100) == 100'000);
    times.add(std::chrono::hours(1'000'000));
    CHECK(times.quantile_ns(100) == times.max_ns());
}

TEST_CASE("missing pages: a page is put once, and a hole that is not missing is zeros") {
    const FakeMemory memory(tiny_layout());
    FakeTrap trap(memory.view());
    PageBits bits = make_bits(tiny_layout(), false);
    set(bits, 0, 3);
    set(bits, 0, 4);
    REQUIRE(trap.arm(bits));
    MissingPages missing(trap, bits);
    CHECK(missing.left() == 2);
    CHECK(missing.missing({.region = 0, .first = 3}, 2));
    CHECK_FALSE(missing.missing({.region = 0, .first = 3}, 3));
    std::uint64_t found = 0;
    std::thread guest([&] { found = trap.touch({.region = 0, .first = 3}, 99); });
    CHECK(next_faults(trap, missing) == std::vector<PagePlace>{{.region = 0, .first = 3}});
    CHECK(missing.waited_for().size() == 1);
    const Blob content(2 * kPageSize, std::byte{7});
    REQUIRE(missing.put({.region = 0, .first = 3}, 2, content));
    guest.join();
    CHECK(found == 0x0707070707070707);
    CHECK(missing.left() == 0);
    CHECK(missing.latencies().count() == 1);
    CHECK(missing.waited_for().empty());
    // A second time: what the guest wrote stays.
    REQUIRE(missing.put({.region = 0, .first = 3}, 1, std::span(content).first(kPageSize)));
    CHECK(trap.touch({.region = 0, .first = 3}) == 99);
}

TEST_CASE("missing pages: userfaultfd over shared memory, where this host has it") {
    const FakeMemory memory(tiny_layout());
    memory.write(0, 1, 11);
    memory.write(0, 2, 22);
    memory.write(0, 5, 55);
    Result<std::unique_ptr<PageTrap>> made = UserfaultTrap::create(memory.view(), false);
    if (!made) {
        MESSAGE("not here: " << made.error().text());
        return;
    }
    PageTrap& trap = **made;
    PageBits bits = make_bits(tiny_layout(), false);
    set(bits, 0, 1);
    set(bits, 0, 2);
    REQUIRE(trap.remove(bits));
    memory.write(0, 2, 33);  // as KVM does, in between
    set(bits, 0, 3);
    REQUIRE(trap.arm(bits));
    MissingPages missing(trap, bits);
    const auto word = [&](std::uint64_t page)->volatile std::uint64_t& {
        return *reinterpret_cast<volatile std::uint64_t*>(
            memory.view().pages({.region = 0, .first = page}, 1).data() + 8);
    };
    CHECK(word(5) == 55);  // came before, and is not missing
    std::uint64_t found = 0;
    std::thread guest([&] {
        found = word(2);
        word(2) = 99;
    });
    CHECK(next_faults(trap, missing) == std::vector<PagePlace>{{.region = 0, .first = 2}});
    Blob content(3 * kPageSize, std::byte{7});
    REQUIRE(missing.put({.region = 0, .first = 1}, 3, content));
    guest.join();
    CHECK(found == 0x0707070707070707);
    // Again: nothing that is there is overwritten.
    REQUIRE(trap.put({.region = 0, .first = 0}, content));
    CHECK(word(2) == 99);
    // Never had memory, and is not missing: zeros, at once.
    std::uint64_t zeros = 1;
    std::thread reader([&] { zeros = word(10); });
    CHECK(next_faults(trap, missing).empty());
    reader.join();
    CHECK(zeros == 0);
    REQUIRE(trap.disarm());
    CHECK(word(11) == 0);
}
