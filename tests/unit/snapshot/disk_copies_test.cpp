// Disks that are copied in the moment that a snapshot holds.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "migration/snapshot/snapshot.h"
#include "tests/unit/snapshot/fake_machine.h"
#include "tests/unit/snapshot/temporary_folder.h"
#include "vmm/base/copy_file.h"

using namespace hako;
using namespace hako::test;

namespace {

constexpr std::uint64_t kDisk = 6 * MiB + 512;

struct Rig {
    TemporaryFolder place;
    FakeMachine machine;
    std::string target = place.path() + "/copy.img";
    SnapshotConfig config{.folder = place.path() + "/snapshot",
                          .config = "{}",
                          .live = true,
                          .disks = {{.id = "disk", .path = target, .copy = true}}};

    Rig() {
        std::filesystem::create_directory(config.folder);
        machine.disk = place.path() + "/disk.img";
        std::ofstream(machine.disk) << "what was there";
        std::filesystem::resize_file(machine.disk, kDisk);
        write(5 * MiB, "before");
        // The guest's last write is in the copy, the next one is not.
        machine.on_save = [this] { write(0, "in the pause!!"); };
    }
    void write(std::uint64_t at, const char* text) const {
        std::fstream file(machine.disk, std::ios::in | std::ios::out);
        file.seekp(static_cast<std::streamoff>(at));
        file << text;
    }
    [[nodiscard]] static std::string content(const std::string& path) {
        std::ifstream file(path);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    Result<SnapshotOutcome> take() { return Snapshot(config, machine).run(); }
    [[nodiscard]] bool can_share() const {
        const Fd from(::open(machine.disk.c_str(), O_RDONLY | O_CLOEXEC));
        const std::string path = place.path() + "/probe";
        const Fd to(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        const bool shared = share_blocks(from.get(), to.get());
        std::filesystem::remove(path);
        return shared;
    }
};

}  // namespace

TEST_CASE("a disk is copied as it was in the pause, its holes too") {
    Rig rig;
    SUBCASE("live") {}
    SUBCASE("standing") {
        rig.config.live = false;
    }
    const auto taken = rig.take();
    REQUIRE_MESSAGE(taken, taken.error().text());
    rig.write(0, "afterwards");
    const std::string copy = Rig::content(rig.target);
    CHECK(copy.size() == kDisk);
    CHECK(copy.substr(0, 14) == "in the pause!!");
    CHECK(copy.substr(5 * MiB, 6) == "before");
    struct stat status{};
    REQUIRE(::stat(rig.target.c_str(), &status) == 0);
    CHECK(status.st_blocks * 512 <= static_cast<std::int64_t>(MiB));
    CHECK_FALSE(rig.machine.paused);
}

TEST_CASE("without reflinks a copy is made only if it was asked for") {
    Rig rig;
    rig.config.disks[0].copy = false;
    const bool shared = rig.can_share();
    const auto taken = rig.take();
    CHECK(taken.has_value() == shared);
    CHECK(std::filesystem::exists(rig.target) == shared);
    if (shared) return;
    CHECK(taken.error().text().find("cannot share its blocks") != std::string::npos);
    CHECK(SnapshotFolder(rig.config.folder).check_empty());
}

TEST_CASE("what goes wrong leaves no copy, no snapshot, and the guest running") {
    Rig rig;
    const char* words = "";
    SUBCASE("it takes too long") {
        rig.config.hold_ms = 0;
        words = "hold_ms";
    }
    SUBCASE("the second disk is none") {
        rig.config.disks.push_back({.id = "other", .path = rig.place.path() + "/other.img"});
        words = "no disk other";
    }
    SUBCASE("the second copy is there already") {
        rig.config.disks.push_back({.id = "disk", .path = rig.machine.disk});
        words = "File exists";
    }
    SUBCASE("the state cannot be saved") {
        rig.machine.fail_save = true;
        words = "no state today";
    }
    const auto taken = rig.take();
    REQUIRE_FALSE(taken);
    CHECK_MESSAGE(taken.error().text().find(words) != std::string::npos, taken.error().text());
    CHECK_FALSE(std::filesystem::exists(rig.target));
    CHECK(std::filesystem::exists(rig.machine.disk));
    CHECK(SnapshotFolder(rig.config.folder).check_empty());
    CHECK_FALSE(rig.machine.paused);
}
