// What a guest needed first is noted, and fetched for the next one.
#include "migration/snapshot/prefetch.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/unit/snapshot/temporary_folder.h"
#include "vmm/memory/pagemap.h"

using namespace hako;
using namespace hako::migration;

namespace {

constexpr std::uint64_t kSize = 8 * MiB;
constexpr SnapshotId kId{1, 2, 3};

struct Rig {
    test::TemporaryFolder place;

    Rig() {
        std::ofstream(place.path() + "/memory") << "x";
        std::filesystem::resize_file(place.path() + "/memory", kSize);
    }
    [[nodiscard]] GuestMemory map() const {
        return GuestMemory::map({.size = kSize}, Fd(::open((place.path() + "/memory").c_str(), O_RDONLY)))
            .value();
    }
    [[nodiscard]] std::optional<WorkingSet> set(const SnapshotId& id = kId) const {
        return read_working_set(place.path(), id, kSize / kPageSize);
    }
    [[nodiscard]] bool has(const WorkingSet& set, std::uint64_t page, bool written) const {
        return std::ranges::any_of(set.runs, [&](const WorkingRun& run) {
            return run.first <= page && page < run.first + run.pages && run.written == written;
        });
    }
};

PageEntry entry(const GuestMemory& memory, std::uint64_t page) {
    PageEntry one;
    REQUIRE(Pagemap::open()->read(memory.regions()[0].host + page * kPageSize, std::span(&one, 1)));
    return one;
}

}  // namespace

TEST_CASE("pages that a guest touches are noted once it has run for a while") {
    const Rig rig;
    GuestMemory memory = rig.map();
    memory.attend(std::make_unique<Prefetch>(memory, rig.place.path(), kId, std::chrono::milliseconds(0)));
    REQUIRE(memory.load<std::uint32_t>(GuestAddress{100 * kPageSize}));
    REQUIRE(memory.store(GuestAddress{1000 * kPageSize}, std::uint32_t{5}));
    CHECK_FALSE(rig.set());
    memory.attendant()->guest_runs();
    while (!rig.set())
        std::this_thread::yield();
    CHECK(rig.has(*rig.set(), 100, false));
    CHECK(rig.has(*rig.set(), 1000, true));
    CHECK(rig.set()->pages() < kSize / kPageSize / 2);
    // Of another snapshot it says nothing.
    CHECK_FALSE(rig.set(SnapshotId{9}));
}

TEST_CASE("and fetched for the next, which is not changed by it") {
    const Rig rig;
    REQUIRE(write_working_set(
        rig.place.path(),
        {.id = kId, .runs = {{.first = 100, .pages = 3}, {.first = 1000, .pages = 1, .written = true}}}));
    GuestMemory memory = rig.map();
    memory.attend(std::make_unique<Prefetch>(memory, rig.place.path(), kId));
    while (!entry(memory, 1000).own())
        std::this_thread::yield();
    CHECK(entry(memory, 102).present());
    CHECK_FALSE(entry(memory, 102).own());
    CHECK_FALSE(entry(memory, 2000).present());
    CHECK(memory.load<std::uint8_t>(GuestAddress{0}) == 'x');
}

TEST_CASE("a guest that ends before leaves no note, and memory goes at once") {
    const Rig rig;
    GuestMemory memory = rig.map();
    memory.attend(std::make_unique<Prefetch>(memory, rig.place.path(), kId));
    SUBCASE("it ran") {
        memory.attendant()->guest_runs();
    }
    SUBCASE("it never ran") {}
    memory.attend(nullptr);
    CHECK_FALSE(rig.set());
}

TEST_CASE("a note that is damaged or lies counts as none") {
    const Rig rig;
    const std::string path = rig.place.path() + "/working-set";
    REQUIRE(write_working_set(rig.place.path(), {.id = kId, .runs = {{.first = 2048, .pages = 1}}}));
    CHECK_FALSE(rig.set());
    REQUIRE(write_working_set(rig.place.path(), {.id = kId, .runs = {{.first = 1, .pages = 0xffffffff}}}));
    CHECK_FALSE(rig.set());
    REQUIRE(write_working_set(rig.place.path(), {.id = kId, .runs = {{.first = 1, .pages = 1}}}));
    REQUIRE(rig.set());
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
    CHECK_FALSE(rig.set());
}
