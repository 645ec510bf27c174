#include "vmm/memory/guest_memory.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "vmm/memory/layout.h"

using namespace hako;

TEST_CASE("RAM above 3 GiB continues at 4 GiB") {
    auto memory = GuestMemory::create({.size = 5 * GiB});
    REQUIRE(memory);
    REQUIRE(memory->regions().size() == 2);
    CHECK(memory->regions()[0].size == 3 * GiB);
    CHECK(memory->regions()[1].base == GuestAddress{4 * GiB});
    CHECK(memory->end() == GuestAddress{6 * GiB});
    CHECK(memory->store(GuestAddress{6 * GiB - 8}, std::uint64_t{7}));
    CHECK(memory->load<std::uint64_t>(GuestAddress{6 * GiB - 8}) == 7);
}

TEST_CASE("ranges outside RAM are refused, whatever the arithmetic") {
    auto memory = GuestMemory::create({.size = 5 * GiB});
    REQUIRE(memory);
    const std::uint64_t hole = layout::kRamHole;
    CHECK(memory->readable(GuestAddress{hole - 4}, 4));
    CHECK_FALSE(memory->readable(GuestAddress{hole - 4}, 5));
    CHECK_FALSE(memory->readable(GuestAddress{hole}, 1));
    CHECK_FALSE(memory->readable(GuestAddress{6 * GiB}, 1));
    CHECK_FALSE(memory->readable(GuestAddress{UINT64_MAX}, 1));
    CHECK_FALSE(memory->readable(GuestAddress{8}, UINT64_MAX));
    CHECK_FALSE(memory->writable(GuestAddress{UINT64_MAX - 3}, 8));
    CHECK_FALSE(memory->load<std::uint32_t>(GuestAddress{hole - 2}));
    CHECK_FALSE(memory->store(GuestAddress{hole - 2}, std::uint32_t{1}));
}

TEST_CASE("a size that makes no sense is the user's error") {
    for (const std::uint64_t size : {std::uint64_t{0}, MiB - 1, MiB + 1, kMaxMemory + MiB}) {
        const auto memory = GuestMemory::create({.size = size});
        REQUIRE_FALSE(memory);
        CHECK(memory.error().fault() == Fault::kInput);
    }
}

TEST_CASE("what hako writes is dirty, what it reads is not") {
    auto memory = GuestMemory::create({.size = 2 * MiB});
    REQUIRE(memory);
    CHECK(memory->dirty_bitmap(0) == nullptr);
    memory->start_dirty_tracking();
    DirtyBitmap& dirty = *memory->dirty_bitmap(0);
    REQUIRE(dirty.words() == 8);

    CHECK(memory->load<std::uint8_t>(GuestAddress{0}) == 0);
    CHECK(dirty.take(0) == 0);
    CHECK(memory->store(GuestAddress{kPageSize - 1}, std::uint16_t{1}));
    CHECK(dirty.take(0) == 0b11);
    CHECK(dirty.take(0) == 0);

    REQUIRE(memory->writable_later(GuestAddress{3 * kPageSize}, 10));
    CHECK(dirty.take(0) == 0);
    memory->mark_dirty(GuestAddress{3 * kPageSize}, 10);
    CHECK(dirty.take(0) == 0b1000);

    memory->mark_dirty(GuestAddress{63 * kPageSize}, 66 * kPageSize);
    CHECK(dirty.take(0) == std::uint64_t{1} << 63);
    CHECK(dirty.take(1) == ~std::uint64_t{0});
    CHECK(dirty.take(2) == 1);
}

TEST_CASE("private memory begins as a file and leaves it alone") {
    std::FILE* const file = std::tmpfile();
    REQUIRE(file != nullptr);
    const Fd fd(::dup(::fileno(file)));
    REQUIRE(::ftruncate(fd.get(), 2 * MiB) == 0);
    const std::uint32_t saved = 0x1234;
    REQUIRE(::pwrite(fd.get(), &saved, sizeof saved, MiB) == sizeof saved);
    {
        auto memory = GuestMemory::map({.size = 2 * MiB}, Fd(::dup(fd.get())));
        REQUIRE(memory);
        CHECK(memory->fd() == -1);
        CHECK(memory->load<std::uint32_t>(GuestAddress{MiB}) == saved);
        CHECK(memory->store(GuestAddress{MiB}, std::uint32_t{1}));
        CHECK(memory->load<std::uint32_t>(GuestAddress{MiB}) == 1);
        // What the file has, and what was written: not what was read only.
        CHECK(memory->load<std::uint32_t>(GuestAddress{5 * kPageSize}) == 0);
        CHECK(memory->store(GuestAddress{70 * kPageSize}, std::uint32_t{1}));
        const auto touched = memory->touched();
        const auto has = [&](std::uint64_t page) { return (touched[0][page / 64] >> page % 64 & 1) != 0; };
        CHECK(has(MiB / kPageSize));
        CHECK(has(70));
        CHECK_FALSE(has(5));
    }
    std::uint32_t now = 0;
    REQUIRE(::pread(fd.get(), &now, sizeof now, MiB) == sizeof now);
    CHECK(now == saved);
    CHECK_FALSE(GuestMemory::map({.size = 2 * MiB, .hugepages = true}, Fd(::dup(fd.get()))));
    std::fclose(file);
}

TEST_CASE("discarded pages are zeros, dirty, and those of the range only") {
    auto memory = GuestMemory::create({.size = 2 * MiB, .thp = false});
    REQUIRE(memory);
    for (std::uint64_t page = 0; page < 2 * MiB / kPageSize; ++page)
        REQUIRE(memory->store(GuestAddress{page * kPageSize}, std::uint32_t{7}));
    memory->start_dirty_tracking();
    CHECK(memory->discard(GuestAddress{3 * kPageSize}, 2 * kPageSize));
    CHECK(memory->dirty_bitmap(0)->take(0) == 0b11000);
    CHECK(memory->load<std::uint32_t>(GuestAddress{2 * kPageSize}) == 7);
    CHECK(memory->load<std::uint32_t>(GuestAddress{5 * kPageSize}) == 7);
    CHECK_FALSE((memory->touched()[0][0] >> 3 & 1) != 0);
    CHECK(memory->load<std::uint32_t>(GuestAddress{3 * kPageSize}) == 0);
    CHECK(memory->load<std::uint32_t>(GuestAddress{4 * kPageSize}) == 0);

    CHECK_FALSE(memory->discard(GuestAddress{100}, kPageSize));
    CHECK_FALSE(memory->discard(GuestAddress{8 * kPageSize}, 100));
    CHECK_FALSE(memory->discard(GuestAddress{2 * MiB - kPageSize}, 2 * kPageSize));
    CHECK_FALSE(memory->discard(GuestAddress{UINT64_MAX - kPageSize + 1}, kPageSize));
    memory->discard_gate()->close();
    CHECK_FALSE(memory->discard(GuestAddress{8 * kPageSize}, kPageSize));
    CHECK(memory->load<std::uint32_t>(GuestAddress{8 * kPageSize}) == 7);
    CHECK(memory->dirty_bitmap(0)->take(0) == 0);
}

TEST_CASE("memory above the hole is discarded where it lies in the file") {
    auto memory = GuestMemory::create({.size = 5 * GiB, .thp = false});
    REQUIRE(memory);
    REQUIRE(memory->store(GuestAddress{4 * GiB}, std::uint32_t{7}));
    REQUIRE(memory->store(GuestAddress{4 * GiB + kPageSize}, std::uint32_t{7}));
    REQUIRE(memory->store(GuestAddress{3 * GiB - kPageSize}, std::uint32_t{7}));
    CHECK(memory->discard(GuestAddress{4 * GiB}, kPageSize));
    CHECK(memory->load<std::uint32_t>(GuestAddress{4 * GiB}) == 0);
    CHECK(memory->load<std::uint32_t>(GuestAddress{4 * GiB + kPageSize}) == 7);
    CHECK(memory->load<std::uint32_t>(GuestAddress{3 * GiB - kPageSize}) == 7);
}

TEST_CASE("a discarded page of private memory is none of the file's any more") {
    std::FILE* const file = std::tmpfile();
    REQUIRE(file != nullptr);
    const Fd fd(::dup(::fileno(file)));
    const std::vector<std::uint32_t> content(256 * MiB / sizeof(std::uint32_t), 0x1234);
    REQUIRE(::pwrite(fd.get(), content.data(), 256 * MiB, 0) == 256 * MiB);
    auto memory = GuestMemory::map({.size = 256 * MiB}, Fd(::dup(fd.get())));
    REQUIRE(memory);
    const auto value = [&](std::uint64_t page) {
        return memory->load<std::uint32_t>(GuestAddress{page * kPageSize}).value();
    };
    REQUIRE(memory->store(GuestAddress{4 * kPageSize}, std::uint32_t{7}));
    CHECK(memory->discard(GuestAddress{3 * kPageSize}, 2 * kPageSize));
    CHECK(value(2) == 0x1234);
    CHECK(value(3) == 0);
    CHECK(value(4) == 0);
    CHECK(value(5) == 0x1234);
    REQUIRE(memory->store(GuestAddress{4 * kPageSize}, std::uint32_t{8}));
    CHECK(value(4) == 8);
    CHECK(memory->discard(GuestAddress{4 * kPageSize}, kPageSize));
    CHECK(value(4) == 0);

    // Every other page, so that each is a mapping of its own: at some point they stay as they are.
    const std::uint64_t pages = 256 * MiB / kPageSize;
    std::uint64_t gone = 0;
    for (std::uint64_t page = 0; page < pages; page += 2) {
        const bool discarded = memory->discard(GuestAddress{page * kPageSize}, kPageSize);
        gone += discarded ? 1U : 0U;
        REQUIRE(value(page) == (discarded ? 0U : 0x1234U));
    }
    CHECK(gone > pages / 16);
    CHECK(gone < pages / 2);
    // What takes no more of them works, and all of it is one again.
    CHECK(memory->discard(GuestAddress{0}, 256 * MiB));
    CHECK(value(pages - 1) == 0);
    CHECK(memory->discard(GuestAddress{64 * kPageSize}, kPageSize));
    std::fclose(file);
}

TEST_CASE("edges between kinds of pages are counted exactly") {
    constexpr std::uint64_t kPages = 70;
    std::array<bool, kPages> plain{};
    AnonymousPages pages(kPages);
    std::uint64_t seed = 1;
    for (int round = 0; round < 200; ++round) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        const std::uint64_t first = (seed >> 33) % kPages;
        const std::uint64_t count = 1 + (seed >> 50) % std::min<std::uint64_t>(4, kPages - first);
        const bool covered = std::all_of(plain.begin() + static_cast<std::ptrdiff_t>(first),
                                         plain.begin() + static_cast<std::ptrdiff_t>(first + count),
                                         [](bool set) { return set; });
        CHECK(pages.cover(first, count) == covered);
        const std::size_t told = pages.edges_with(first, count);
        std::fill_n(plain.begin() + static_cast<std::ptrdiff_t>(first), count, true);
        std::size_t edges = 0;
        for (std::size_t page = 1; page < kPages; ++page)
            edges += plain[page] != plain[page - 1] ? 1U : 0U;
        CHECK(told == edges);
        pages.add(first, count);
    }
}

TEST_CASE("memory grows in its room, shrinks, and comes again as zeros") {
    for (const std::uint64_t size : {512 * MiB, 5 * GiB}) {
        auto memory = GuestMemory::create({.size = size, .room = 512 * MiB});
        REQUIRE(memory);
        const std::uint64_t room = layout::memory_room(size);
        const std::size_t fixed = memory->regions().size();
        CHECK(memory->end() == GuestAddress{room + 512 * MiB});
        CHECK_FALSE(memory->store(GuestAddress{room}, std::uint64_t{7}));
        REQUIRE(memory->set_plugged(256 * MiB));
        REQUIRE(memory->regions().size() == fixed + 1);
        CHECK(memory->size() == size + 256 * MiB);
        CHECK(memory->store(GuestAddress{room + 128 * MiB}, std::uint64_t{7}));
        CHECK_FALSE(memory->store(GuestAddress{room + 256 * MiB}, std::uint64_t{7}));
        memory->start_dirty_tracking();
        REQUIRE(memory->dirty_bitmap(fixed) != nullptr);
        CHECK(memory->store(GuestAddress{room}, std::uint64_t{7}));
        CHECK(memory->dirty_bitmap(fixed)->take(0) == 1);
        memory->stop_dirty_tracking();
        REQUIRE(memory->set_plugged(128 * MiB));
        CHECK_FALSE(memory->load<std::uint64_t>(GuestAddress{room + 128 * MiB}));
        REQUIRE(memory->set_plugged(512 * MiB));
        CHECK(memory->load<std::uint64_t>(GuestAddress{room + 128 * MiB}) == 0);
        CHECK(memory->load<std::uint64_t>(GuestAddress{room}) == 7);
        CHECK_FALSE(memory->set_plugged(640 * MiB));
        CHECK(memory->size() == size + 512 * MiB);
        memory->start_dirty_tracking();
        REQUIRE(memory->discard_room(128 * MiB, 128 * MiB));
        CHECK(memory->dirty_bitmap(fixed)->take(0) == 0);
        CHECK(memory->dirty_bitmap(fixed)->take(128 * MiB / kPageSize / 64) == ~std::uint64_t{0});
        memory->stop_dirty_tracking();
        REQUIRE(memory->set_plugged(0));
        CHECK(memory->regions().size() == fixed);
    }
}

TEST_CASE("memory that is mapped from a file grows beyond it, and what goes does not come back as the file") {
    std::FILE* const file = std::tmpfile();
    REQUIRE(file != nullptr);
    REQUIRE(::ftruncate(::fileno(file), 256 * MiB) == 0);
    const std::uint64_t mark = 42;
    REQUIRE(::pwrite(::fileno(file), &mark, sizeof mark, 128 * MiB) == sizeof mark);
    auto memory = GuestMemory::map({.size = 128 * MiB, .room = 256 * MiB, .plugged = 128 * MiB},
                                   Fd(::dup(::fileno(file))));
    std::fclose(file);
    REQUIRE(memory);
    const GuestAddress room{layout::memory_room(128 * MiB)};
    CHECK(memory->load<std::uint64_t>(room) == mark);
    REQUIRE(memory->set_plugged(256 * MiB));
    CHECK(memory->load<std::uint64_t>(room) == mark);
    CHECK(memory->store(room + 128 * MiB, mark));
    CHECK((memory->touched()[1][128 * MiB / kPageSize / 64] & 1) == 1);
    REQUIRE(memory->set_plugged(0));
    REQUIRE(memory->set_plugged(256 * MiB));
    CHECK(memory->load<std::uint64_t>(room) == 0);
    CHECK(memory->load<std::uint64_t>(room + 128 * MiB) == 0);
}

TEST_CASE("room to grow has whole steps, and what is plugged fits into it") {
    for (const MemoryConfig& config :
         {MemoryConfig{.size = GiB, .room = 64 * MiB}, MemoryConfig{.size = GiB, .room = GiB, .plugged = MiB},
          MemoryConfig{.size = GiB, .room = GiB, .plugged = 2 * GiB},
          MemoryConfig{.size = GiB, .room = kMaxMemory}})
        CHECK_FALSE(GuestMemory::create(config));
}
