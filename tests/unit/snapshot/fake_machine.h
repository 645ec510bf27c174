// A machine that is made up, for snapshots of it.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>

#include <algorithm>
#include <functional>

#include "migration/snapshot/chain.h"
#include "migration/source_machine.h"
#include "vmm/memory/guest_memory.h"

namespace hako::test {

using namespace hako::migration;

inline constexpr std::uint64_t kSize = 8 * MiB;

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
        log = make_bits(view_.layout, false);
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
    Result<Fd> image(const std::string& id) override {
        if (id != "disk") return fail_missing("there is no disk {}", id);
        return Fd(::open(disk.c_str(), O_RDONLY | O_CLOEXEC));
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
    std::string disk;  ///< its image
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

inline bool same(const GuestMemory& a, const GuestMemory& b) {
    return std::equal(a.regions()[0].host, a.regions()[0].host + kSize, b.regions()[0].host);
}

/// The memory of a snapshot, which is the same in both ways of restoring it.
inline GuestMemory read(const std::string& path) {
    GuestMemory memory = GuestMemory::create({.size = kSize}).value();
    Result<Chain> chain = Chain::open(path);
    REQUIRE_MESSAGE(chain, chain.error().text());
    const Result<> read = chain->read(memory);
    REQUIRE_MESSAGE(read, read.error().text());
    const Result<GuestMemory> mapped = std::move(*chain).map({.size = kSize});
    REQUIRE_MESSAGE(mapped, mapped.error().text());
    CHECK(same(memory, *mapped));
    return memory;
}

}  // namespace hako::test
