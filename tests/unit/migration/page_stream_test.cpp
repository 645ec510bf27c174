// Finding, sending and receiving pages.
#include <doctest/doctest.h>

#include <functional>
#include <random>
#include <thread>

#include "migration/memory/chunks.h"
#include "migration/memory/page_receiver.h"
#include "migration/memory/page_sender.h"
#include "migration/memory/zero_page.h"
#include "migration/transport/channel.h"
#include "tests/unit/migration/fake_machines.h"
#include "tests/unit/migration/stream_pair.h"

using namespace hako;
using namespace hako::migration;
using namespace hako::migration::testing;

namespace {

BlockBits no_blocks;  // no disk moves along

constexpr Wait kPatient{.silence = milliseconds(60'000)};

class NoLog final : public DirtyLogClearer {
  public:
    Result<> clear_dirty(std::size_t, std::uint64_t, std::uint64_t, std::span<const std::uint64_t>) override {
        return {};
    }
};

/// What a receiver of `layout` says to one PAGES and its content.
Outcome<Round> receive(const Pages& pages, std::size_t content, unsigned connections = 1,
                       unsigned index = 0) {
    const FakeMemory memory(small_layout());
    PageBits received = make_bits(small_layout(), false);
    MemoryCounters counters;
    StreamPair pair;
    std::thread sends([&] {
        (void)send_message(*pair.near, pages, kPatient);
        (void)pair.near->send(Blob(content), kPatient);
        (void)send_message(*pair.near, Round{.pages = content / kPageSize}, kPatient);
    });
    PageReceiver receiver(
        {.memory = memory.view(), .connections = connections, .received = received, .counters = counters},
        *pair.far, index);
    auto round = receiver.receive_round(0, kPatient);
    pair.far->shut_down();
    sends.join();
    return round;
}

}  // namespace

TEST_CASE("migration pages: runs of any bits, as a loop over bits finds them") {
    std::mt19937_64 random(1);
    for (int turn = 0; turn < 300; ++turn) {
        std::vector<std::uint64_t> words(1 + random() % 6);
        for (std::uint64_t& word : words) {
            switch (random() % 4) {
                case 0:
                    word = 0;
                    break;
                case 1:
                    word = ~std::uint64_t{0};
                    break;
                case 2:
                    word = random() & random() & random();
                    break;
                default:
                    word = random();
                    break;
            }
        }
        const std::uint64_t end = 1 + random() % (words.size() * 64);
        const std::uint64_t first = random() % end;
        const std::uint64_t max_pages = turn % 3 == 0 ? 1 + random() % 70 : 1'000'000;
        std::vector<PageRun> expected;
        for (std::uint64_t bit = first; bit < end; ++bit) {
            if ((words[bit / 64] >> bit % 64 & 1) == 0) continue;
            if (!expected.empty() && expected.back().first + expected.back().pages == bit &&
                expected.back().pages < max_pages)
                ++expected.back().pages;
            else
                expected.push_back({.first = bit, .pages = 1});
        }
        std::vector<PageRun> found;
        RunScanner scanner(words, first, end, max_pages);
        while (const auto run = scanner.next())
            found.push_back(*run);
        CHECK(found == expected);
    }
}

TEST_CASE("migration pages: all bits of a layout, and none beyond it") {
    const MemoryLayout layout{
        .regions = {{.address = 0, .bytes = 65 * kPageSize}, {.address = GiB, .bytes = 64 * kPageSize}}};
    const PageBits bits = make_bits(layout, true);
    CHECK(bits[0] == RegionBits{~std::uint64_t{0}, 1});
    CHECK(bits[1] == RegionBits{~std::uint64_t{0}});
    CHECK(count_bits(bits) == 129);
    CHECK(count_bits(make_bits(layout, false)) == 0);
}

TEST_CASE("migration pages: a page is zero if every byte of it is, by each way to find out") {
    alignas(64) std::array<std::byte, kPageSize> page{};
    CHECK(is_zero_page(page.data()));
    CHECK(is_zero_page_scalar(page.data()));
    if (has_avx2()) CHECK(is_zero_page_avx2(page.data()));
    for (std::size_t at = 0; at < kPageSize; ++at) {
        page[at] = std::byte{0x80};
        CHECK_FALSE(is_zero_page(page.data()));
        CHECK_FALSE(is_zero_page_scalar(page.data()));
        if (has_avx2()) CHECK_FALSE(is_zero_page_avx2(page.data()));
        page[at] = std::byte{0};
    }
}

TEST_CASE("migration pages: a chunk is one connection's, and each has its share") {
    std::array<int, 3> share{};
    for (std::uint64_t first = 0; first < 9 * kChunkPages; first += kChunkPages)
        ++share[connection_of({.region = 0, .first = first}, 3)];
    CHECK(share == std::array{3, 3, 3});
    CHECK(in_one_chunk({.first = 10}, kChunkPages - 10));
    CHECK_FALSE(in_one_chunk({.first = 10}, kChunkPages - 9));
    CHECK_FALSE(in_one_chunk({.first = 10}, 0));
}

TEST_CASE("migration pages: zero again after a first version is zero there too") {
    const FakeMemory here(small_layout());
    const FakeMemory there(small_layout());
    PageBits received = make_bits(small_layout(), false);
    MemoryCounters counters;
    BandwidthLimit limit;
    NoLog log;
    StreamPair pair;
    const PageBits all;
    PageSender sender(
        {.memory = here.view(), .limit = limit, .counters = counters, .clearer = log, .touched = all},
        *pair.near, 0);
    PageReceiver receiver({.memory = there.view(), .received = received, .counters = counters}, *pair.far, 0);
    for (std::uint64_t page = 0; page < 2000; ++page)
        here.write(0, page, 7);
    const auto round = [&](std::uint32_t number) {
        PageBits sent = make_bits(small_layout(), true);
        std::thread sends([&] { CHECK(sender.send_round(number, false, sent, no_blocks, kPatient)); });
        CHECK(receiver.receive_round(number, kPatient));
        sends.join();
        CHECK(count_bits(sent) == 0);
    };
    round(0);
    CHECK(here == there);
    for (std::uint64_t page = 100; page < 1990; ++page) {
        if (page < 200 || page % 2 == 0) here.write(0, page, 0);  // long runs, and single pages
    }
    round(1);
    CHECK(here == there);
    CHECK(count_bits(received) == small_layout().pages());
}

TEST_CASE("migration pages: a round that is cut keeps the bits of what did not go") {
    const FakeMemory here(small_layout());
    MemoryCounters counters;
    BandwidthLimit limit;
    StreamPair pair;
    const PageBits none;
    std::atomic<bool> cut = false;
    int chunks = 0;
    struct Log final : DirtyLogClearer {
        std::function<void()> cleared;
        Result<> clear_dirty(std::size_t, std::uint64_t, std::uint64_t,
                             std::span<const std::uint64_t>) override {
            cleared();
            return {};
        }
    } log;
    log.cleared = [&] { cut = ++chunks == 2; };
    PageSender sender({.memory = here.view(),
                       .limit = limit,
                       .counters = counters,
                       .clearer = log,
                       .touched = none,
                       .cut = &cut},
                      *pair.near, 0);
    PageBits bits = make_bits(small_layout(), true);
    const auto sent = sender.send_round(0, false, bits, no_blocks, kPatient);
    REQUIRE(sent);
    CHECK(sent->pages + sent->zero_pages == 2 * kChunkPages);
    CHECK(count_bits(bits) == small_layout().pages() - 2 * kChunkPages);
    CHECK(bits[0][2 * kChunkPages / 64 - 1] == 0);
    CHECK(bits[0][2 * kChunkPages / 64] == ~std::uint64_t{0});
}

TEST_CASE("migration pages: nothing is written where it does not belong") {
    const auto one = [](std::uint64_t address, std::uint32_t pages) {
        return Pages{.runs = {{.address = address, .pages = pages}}};
    };
    CHECK(receive(one(0, 2), 2 * kPageSize).has_value());
    const auto refused = [](const Outcome<Round>& round) {
        return !round && round.error().event == Event::kGarbage;
    };
    CHECK(refused(receive(Pages{}, 0)));
    CHECK(refused(receive(one(0, 0), 0)));
    CHECK(refused(receive(one(1, 1), kPageSize)));
    CHECK(refused(receive(one(GiB, 1), kPageSize)));
    CHECK(refused(receive(one(4 * GiB - kPageSize, 1), kPageSize)));
    CHECK(refused(receive(one(9 * MiB, 6), 6 * kPageSize)));  // one page too far
    CHECK(refused(receive(one((kChunkPages - 1) * kPageSize, 2), 2 * kPageSize)));
    CHECK(refused(receive(one(0, 0xffffffff), 0)));
    CHECK(refused(receive(one(~0ULL << 12, 1), kPageSize)));
    // Another connection's page.
    CHECK(receive(one(0, 1), kPageSize, 2, 0).has_value());
    CHECK(refused(receive(one(0, 1), kPageSize, 2, 1)));
    // More than fits into one frame, though each run does.
    Pages many;
    for (std::uint64_t run = 0; run < 2; ++run)
        many.runs.push_back({.address = run * kChunkPages * kPageSize, .pages = kMaxFramePages});
    CHECK(refused(receive(many, 0)));
    // A count that does not hold.
    CHECK(refused(receive(one(0, 1), 2 * kPageSize)));
}

TEST_CASE("migration pages: a limit holds back what there are no tokens for, until somebody stops it") {
    BandwidthLimit limit(100);
    const auto stop = Stop::create().value();
    CHECK(limit.acquire(1'000'000, stop.get()).has_value());  // who is first may owe
    stop->raise({Event::kCancelled, Error(Fault::kState, "enough")});
    const auto waited = limit.acquire(1, stop.get());
    REQUIRE_FALSE(waited.has_value());
    CHECK(waited.error().event == Event::kCancelled);
    limit.set(0);
    CHECK(limit.acquire(1'000'000, nullptr).has_value());
}

TEST_CASE("migration pages: what is told as zeros without a look stays in the log") {
    struct Log final : DirtyLogClearer {
        PageBits bits = make_bits(small_layout(), true);
        Result<> clear_dirty(std::size_t region, std::uint64_t first, std::uint64_t /*pages*/,
                             std::span<const std::uint64_t> words) override {
            for (std::size_t word = 0; word < words.size(); ++word)
                bits[region][first / 64 + word] &= ~words[word];
            return {};
        }
    };
    const FakeMemory here(small_layout());
    MemoryCounters counters;
    BandwidthLimit limit;
    Log log;
    StreamPair pair;
    PageBits touched = make_bits(small_layout(), false);
    touched[0][0] = 1;
    PageSender sender(
        {.memory = here.view(), .limit = limit, .counters = counters, .clearer = log, .touched = touched},
        *pair.near, 0);
    // Written after it was looked up, and before its chunk's turn.
    here.write(0, 5, 77);
    PageBits all = make_bits(small_layout(), true);
    const auto sent = sender.send_round(0, false, all, no_blocks, Wait{});
    REQUIRE(sent);
    CHECK((log.bits[0][0] & 1) == 0);
    CHECK((log.bits[0][0] >> 5 & 1) == 1);
}
