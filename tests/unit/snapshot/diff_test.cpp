// Snapshots of what was written since another one, and what is made of them together.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "migration/snapshot/chain.h"
#include "migration/snapshot/merge.h"
#include "migration/snapshot/snapshot.h"
#include "tests/unit/snapshot/fake_machine.h"
#include "tests/unit/snapshot/temporary_folder.h"

using namespace hako;
using namespace hako::test;

namespace {

/// A machine with folders for its snapshots, as an API client drives it.
struct Rig {
    TemporaryFolder place;
    FakeMachine machine;
    std::optional<Changes> changes;

    Rig() {
        for (std::uint64_t page = 0; page < 1024; ++page)
            machine.write(page, static_cast<int>(page % 250) + 1);
    }

    [[nodiscard]] std::string path(const std::string& name) const { return place.path() + "/" + name; }

    Result<SnapshotOutcome> take(const std::string& name, SnapshotConfig config = {}) {
        std::filesystem::create_directory(path(name));
        config.folder = path(name);
        config.config = "{}";
        if (config.base) config.base = path(*config.base);
        Snapshot snapshot(std::move(config), machine, std::exchange(changes, std::nullopt));
        auto outcome = snapshot.run();
        changes = snapshot.take_changes();
        return outcome;
    }
    [[nodiscard]] SnapshotConfig begin(bool live = false) const {
        return {.live = live, .tracking = Tracking::kBegin};
    }
    [[nodiscard]] SnapshotConfig on(const std::string& base, bool live = false,
                                    Tracking tracking = Tracking::kAsItIs) const {
        return {.live = live, .base = base, .tracking = tracking};
    }
};

std::string why(const auto& result) {
    return result ? "" : result.error().text();
}

bool says(const auto& result, const char* words) {
    return why(result).find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("a differential snapshot has what was written since its base, zeros too") {
    Rig rig;
    bool live = false;
    SUBCASE("standing") {}
    SUBCASE("live") {
        live = true;
    }
    REQUIRE(rig.take("full", rig.begin(live)));
    CHECK(rig.machine.tracking);
    rig.machine.write(3, 77);
    rig.machine.write(700, 0);
    rig.machine.write(2000, 5);
    rig.machine.on_save = [&] { rig.machine.write(2001, 6); };
    const auto outcome = rig.take("diff", rig.on("full", live));
    REQUIRE_MESSAGE(outcome, why(outcome));
    CHECK(outcome->bytes <= 4 * kPageSize);
    CHECK(same(read(rig.path("diff")), rig.machine.guest));
    CHECK(rig.machine.tracking);  // as it was
}

TEST_CASE("what is written while a differential snapshot is taken is in it") {
    Rig rig;
    REQUIRE(rig.take("full", rig.begin()));
    int value = 0;
    rig.machine.on_clear = [&](std::uint64_t first) {
        rig.machine.write(0, ++value);
        rig.machine.write(first + 5, value);
    };
    rig.machine.write(900, 9);
    REQUIRE(rig.take("diff", rig.on("full", true, Tracking::kEnd)));
    rig.machine.on_clear = nullptr;
    CHECK_FALSE(rig.machine.tracking);
    CHECK(same(read(rig.path("diff")), rig.machine.guest));
}

TEST_CASE("snapshots follow one another, or share a base") {
    Rig rig;
    REQUIRE(rig.take("a", rig.begin()));
    rig.machine.write(1, 101);
    REQUIRE(rig.take("b", rig.on("a", true, Tracking::kBegin)));
    rig.machine.write(2, 102);
    rig.machine.write(1, 0);
    REQUIRE(rig.take("c", rig.on("b")));
    CHECK(same(read(rig.path("c")), rig.machine.guest));
    rig.machine.write(3, 103);
    // The base is b still: what c has is in it as well.
    REQUIRE(rig.take("d", rig.on("b", true)));
    CHECK(same(read(rig.path("d")), rig.machine.guest));
    // One in full, between two, takes nothing away from the next, live or not.
    rig.machine.write(4, 104);
    REQUIRE(rig.take("e", {.live = true}));
    CHECK(same(read(rig.path("e")), rig.machine.guest));
    REQUIRE(rig.take("f", rig.on("b")));
    CHECK(same(read(rig.path("f")), rig.machine.guest));
    CHECK(Chain::open(rig.path("f"))->layers().size() == 3);
    // And one in full is a base like any other.
    REQUIRE(rig.take("g", rig.begin()));
    rig.machine.write(5, 105);
    REQUIRE(rig.take("h", rig.on("g")));
    CHECK(same(read(rig.path("h")), rig.machine.guest));
}

TEST_CASE("after one that failed the next has what it would have had") {
    Rig rig;
    REQUIRE(rig.take("full", rig.begin()));
    rig.machine.write(3, 99);
    rig.machine.fail_save = true;
    bool live = false;
    SUBCASE("standing") {}
    SUBCASE("live") {
        live = true;
    }
    CHECK_FALSE(rig.take("failed", rig.on("full", live, Tracking::kBegin)));
    CHECK(SnapshotFolder(rig.path("failed")).check_empty());
    rig.machine.fail_save = false;
    rig.machine.write(4, 98);
    REQUIRE(rig.take("diff", rig.on("full", live)));
    CHECK(same(read(rig.path("diff")), rig.machine.guest));
}

TEST_CASE("a base that will not do is refused") {
    Rig rig;
    CHECK(says(rig.take("x", rig.on("nowhere")), "nowhere"));
    REQUIRE(rig.take("a"));
    CHECK(says(rig.take("x", rig.on("a")), "not logged"));
    REQUIRE(rig.take("b", rig.begin()));
    CHECK(says(rig.take("x", rig.on("a")), "since another snapshot"));
    REQUIRE(rig.take("x", rig.on("b")));
}

TEST_CASE("a chain with a part that is wrong is refused") {
    Rig rig;
    REQUIRE(rig.take("a", rig.begin()));
    rig.machine.write(1, 101);
    REQUIRE(rig.take("b", rig.on("a")));
    GuestMemory memory = GuestMemory::create({.size = kSize}).value();
    const auto read_all = [&]() -> Result<> {
        const Chain chain = HAKO_TRY(Chain::open(rig.path("b")));
        return chain.read(memory);
    };
    const auto put = [&](const std::string& file, off_t offset) {
        const Fd fd(::open(rig.path(file).c_str(), O_RDWR | O_CLOEXEC));
        const char byte = 55;
        REQUIRE(::pwrite(fd.get(), &byte, 1, offset) == 1);
    };
    REQUIRE(read_all());
    SUBCASE("the base is gone") {
        std::filesystem::rename(rig.path("a"), rig.path("elsewhere"));
        CHECK(says(read_all(), "hako snapshot merge"));
    }
    SUBCASE("another base") {
        REQUIRE(rig.take("c"));
        std::filesystem::remove_all(rig.path("a"));
        std::filesystem::rename(rig.path("c"), rig.path("a"));
        CHECK(says(read_all(), "is not the snapshot that"));
    }
    SUBCASE("the base never finished") {
        std::filesystem::remove(rig.path("a/state.json"));
        CHECK(says(read_all(), "never finished"));
    }
    SUBCASE("the base's memory was changed") {
        put("a/memory-ranges", 20 * kPageSize);
        CHECK(says(read_all(), "checksum"));
    }
    SUBCASE("its own memory was changed") {
        put("b/memory-ranges", kPageSize);
        CHECK(says(read_all(), "checksum"));
    }
    SUBCASE("its own memory was cut") {
        std::filesystem::resize_file(rig.path("b/memory-ranges"), MiB);
        CHECK(says(read_all(), "cut"));
    }
    SUBCASE("which pages are changed was changed") {
        put("b/changed-pages", 0);
        CHECK(says(read_all(), "changed-pages"));
    }
    SUBCASE("it is its own base") {
        std::filesystem::remove_all(rig.path("a"));
        std::filesystem::create_directory_symlink(rig.path("b"), rig.path("a"));
        CHECK(says(read_all(), "is not the snapshot that"));
    }
}

TEST_CASE("merged, they are one") {
    Rig rig;
    REQUIRE(rig.take("a", rig.begin()));
    rig.machine.write(1, 101);
    rig.machine.write(2, 0);
    REQUIRE(rig.take("b", rig.on("a", true, Tracking::kBegin)));
    rig.machine.write(1, 102);
    rig.machine.write(1500, 7);
    REQUIRE(rig.take("c", rig.on("b", false, Tracking::kBegin)));
    const std::vector<std::string> folders = {rig.path("a"), rig.path("b"), rig.path("c")};
    const auto merged = merge_snapshots(folders, rig.path("out"));
    REQUIRE_MESSAGE(merged, why(merged));
    CHECK(merged->copied == 2 * kPageSize);
    CHECK(Chain::open(rig.path("out"))->full());
    CHECK(same(read(rig.path("out")), rig.machine.guest));
    // What comes after c comes after it, too.
    rig.machine.write(2, 9);
    REQUIRE(rig.take("d", rig.on("c")));
    REQUIRE(merge_snapshots(std::vector{rig.path("out"), rig.path("d")}, rig.path("last")));
    CHECK(same(read(rig.path("last")), rig.machine.guest));

    SUBCASE("a part is left out") {
        CHECK(says(merge_snapshots(std::vector{folders[0], folders[2]}, rig.path("no")),
                   "is not the snapshot that"));
    }
    SUBCASE("no base") {
        CHECK(says(merge_snapshots(std::vector{folders[1], folders[2]}, rig.path("no")), "no full snapshot"));
    }
    SUBCASE("two bases") {
        CHECK(says(merge_snapshots(std::vector{folders[0], folders[0]}, rig.path("no")), "nothing to merge"));
    }
    SUBCASE("the base is damaged") {
        const Fd fd(::open(rig.path("a/memory-ranges").c_str(), O_RDWR | O_CLOEXEC));
        REQUIRE(::pwrite(fd.get(), "x", 1, 20 * kPageSize) == 1);
        CHECK(says(merge_snapshots(folders, rig.path("no")), "checksum"));
    }
    SUBCASE("there is one already") {
        CHECK(says(merge_snapshots(folders, rig.path("out")), "there is a snapshot"));
        CHECK(same(read(rig.path("d")), rig.machine.guest));
    }
    CHECK_FALSE(std::filesystem::exists(rig.path("no")));
}
