// Snapshots of a machine that is made up: its memory changes while it is written.
#include "migration/snapshot/snapshot.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "migration/snapshot/memory_reader.h"
#include "tests/unit/snapshot/temporary_folder.h"
#include "vmm/memory/guest_memory.h"

using namespace hako;
using namespace hako::migration;

namespace {

constexpr std::uint64_t kSize = 8 * MiB;

/// What it writes is logged, as KVM would.
class FakeMachine final : public SourceMachine {
  public:
    FakeMachine() {
        const MemoryRegion& region = guest.regions()[0];
        view_.layout.regions.push_back({.address = 0, .bytes = kSize});
        view_.mappings.emplace_back(region.host, kSize);
        log = make_bits(view_.layout, false);
    }

    void write(std::uint64_t page, int value) {
        std::ranges::fill(view_.pages({0, page}, 1), static_cast<std::byte>(value));
        log[0][page / 64] |= std::uint64_t{1} << page % 64;
    }

    Result<Description> describe() override { return Description{}; }
    const MemoryView& memory() override { return view_; }
    std::vector<NamedFd> fds() override { return {}; }
    Result<> start_dirty_tracking() override {
        tracking = true;
        return {};
    }
    void stop_dirty_tracking() override { tracking = false; }
    Result<> fetch_dirty(PageBits& bits) override {
        for (std::size_t word = 0; word < bits[0].size(); ++word)
            bits[0][word] |= log[0][word];
        return {};
    }
    Result<> clear_dirty(std::size_t region, std::uint64_t first, std::uint64_t,
                         std::span<const std::uint64_t> words) override {
        for (std::size_t word = 0; word < words.size(); ++word)
            log[region][first / 64 + word] &= ~words[word];
        if (on_clear) on_clear(first);
        return {};
    }
    void throttle(unsigned) override {}
    Result<Stamp> pause() override {
        if (fail_pause) return fail_host("no");
        paused = true;
        ++pauses;
        return Stamp{1};
    }
    Result<> resume() override {
        paused = false;
        return {};
    }
    Result<Blob> save_state() override {
        CHECK(paused);
        if (fail_save) return fail_host("no state today");
        if (on_save) on_save();
        return Blob{std::byte{7}};
    }
    Result<> release_locks() override { return {}; }
    Result<> acquire_locks() override { return {}; }
    Result<std::optional<EpochRecord>> read_epoch_record() override { return std::nullopt; }
    Result<> write_epoch_record(const EpochRecord&) override { return {}; }

    GuestMemory guest = GuestMemory::create({.size = kSize}).value();
    PageBits log;
    std::function<void(std::uint64_t)> on_clear;
    std::function<void()> on_save;
    bool fail_pause = false;
    bool fail_save = false;
    bool tracking = false;
    bool paused = false;
    int pauses = 0;

  private:
    MemoryView view_;
};

/// The memory of a snapshot.
GuestMemory read(const std::string& path) {
    const SnapshotFolder folder(path);
    const SavedState state = folder.read_state().value();
    GuestMemory memory = GuestMemory::create({.size = state.facts.memory}).value();
    const Fd file = open_memory_file(folder.memory_path(), kSize).value();
    REQUIRE(read_memory(file, path, folder.read_checksums(state.facts).value(), memory));
    return memory;
}

bool same(const GuestMemory& a, const GuestMemory& b) {
    return std::equal(a.regions()[0].host, a.regions()[0].host + kSize, b.regions()[0].host);
}

}  // namespace

TEST_CASE("what is written while memory is written is in the snapshot") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    for (std::uint64_t page = 0; page < kSize / kPageSize; ++page)
        machine.write(page, static_cast<int>(page % 251));
    int value = 0;
    machine.on_clear = [&](std::uint64_t first) {
        // Behind the writer, and where it is.
        machine.write(0, ++value);
        machine.write(first, value);
    };
    // To take the state may write, too.
    machine.on_save = [&] { machine.write(1000, 77); };
    Snapshot snapshot({.folder = place.path(), .config = "{}", .live = true}, machine);
    const auto outcome = snapshot.run();
    REQUIRE(outcome);
    CHECK(machine.pauses == 1);
    CHECK_FALSE(machine.paused);
    CHECK_FALSE(machine.tracking);
    CHECK(same(read(place.path()), machine.guest));
}

TEST_CASE("a guest that never rests is paused after some rounds") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    std::uint64_t turn = 0;
    machine.on_clear = [&](std::uint64_t) {
        ++turn;
        for (std::uint64_t page = 0; page < kSize / kPageSize; ++page)
            machine.write(page, static_cast<int>(turn % 200) + 1);
    };
    machine.write(0, 1);
    Snapshot snapshot({.folder = place.path(), .config = "{}", .live = true}, machine);
    const auto outcome = snapshot.run();
    REQUIRE(outcome);
    CHECK(outcome->rounds <= 8);
    CHECK(same(read(place.path()), machine.guest));
}

TEST_CASE("a machine that stands is written as it is") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    machine.write(3, 4);
    Snapshot snapshot({.folder = place.path(), .config = "{}"}, machine);
    REQUIRE(snapshot.run());
    CHECK_FALSE(machine.paused);
    CHECK(same(read(place.path()), machine.guest));
}

TEST_CASE("a snapshot that fails leaves the machine running and the folder empty") {
    const test::TemporaryFolder place;
    FakeMachine machine;
    machine.write(3, 4);
    bool live = false;
    bool give_up = false;
    SUBCASE("no pause") {
        machine.fail_pause = true;
    }
    SUBCASE("no state") {
        machine.fail_save = true;
    }
    SUBCASE("no state, live") {
        machine.fail_save = true;
        live = true;
    }
    SUBCASE("given up, live") {
        give_up = true;
        live = true;
    }
    Snapshot snapshot({.folder = place.path(), .config = "{}", .live = live}, machine);
    if (give_up) snapshot.cancel();
    CHECK_FALSE(snapshot.run());
    CHECK_FALSE(machine.paused);
    CHECK_FALSE(machine.tracking);
    CHECK(SnapshotFolder(place.path()).check_empty());
}
