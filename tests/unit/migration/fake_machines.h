// Two VMs without KVM, and the world they share: disk locks, the epoch record, and who runs.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "migration/destination_machine.h"
#include "migration/memory/chunks.h"
#include "migration/progress.h"
#include "migration/source_machine.h"
#include "tests/unit/migration/fake_trap.h"

namespace hako::migration::testing {

/// What both sides see of the host: the judge of every test. Any thread.
class World {
  public:
    enum class Who { kNobody, kSource, kDestination };

    /// The guest of `who` runs from now on. Two at once, or one without the locks, is what must never be.
    void run(Who who) {
        const std::lock_guard lock(mutex_);
        if (runs_ != Who::kNobody && runs_ != who) broken_ = "two run";
        if (owner_ != who) broken_ = "one runs without the locks";
        if (who == Who::kDestination && (!record_ || record_->withdrawn))
            broken_ = "the destination runs without a record";
        runs_ = who;
    }
    void pause(Who who) {
        const std::lock_guard lock(mutex_);
        if (runs_ == who) runs_ = Who::kNobody;
    }
    /// OWNER of the image.
    bool own(Who who) {
        const std::lock_guard lock(mutex_);
        if (owner_ != Who::kNobody && owner_ != who) return false;
        owner_ = who;
        return true;
    }
    void disown(Who who) {
        const std::lock_guard lock(mutex_);
        if (runs_ == who) broken_ = "one gives its locks up while it runs";
        if (owner_ == who) owner_ = Who::kNobody;
    }
    [[nodiscard]] std::optional<EpochRecord> record() const {
        const std::lock_guard lock(mutex_);
        return record_;
    }
    void set_record(const EpochRecord& record, Who who) {
        const std::lock_guard lock(mutex_);
        if (owner_ != who) broken_ = "one writes the record without the locks";
        record_ = record;
    }
    [[nodiscard]] Who runs() const {
        const std::lock_guard lock(mutex_);
        return runs_;
    }
    [[nodiscard]] Who owner() const {
        const std::lock_guard lock(mutex_);
        return owner_;
    }
    /// Empty: nothing happened that must not.
    [[nodiscard]] std::string broken() const {
        const std::lock_guard lock(mutex_);
        return broken_;
    }

  private:
    mutable std::mutex mutex_;
    Who runs_ = Who::kSource;
    Who owner_ = Who::kSource;
    std::optional<EpochRecord> record_;
    std::string broken_;
};

/// Called with a call's name before it does anything: may wait, or make it fail.
using CallHook = std::function<Result<>(std::string_view call)>;

inline const Uuid kUuid{std::byte{1}, std::byte{2}, std::byte{3}};
inline constexpr std::uint64_t kEpoch = 7;

/// Memory in two regions, neither a whole number of chunks.
inline MemoryLayout small_layout() {
    return {.regions = {{.address = 0, .bytes = 9 * MiB + 5 * kPageSize},
                        {.address = 4 * GiB, .bytes = 3 * MiB}}};
}

/// A few pages, for tests of everything but memory. Each of two connections has some.
inline MemoryLayout tiny_layout() {
    return {
        .regions = {{.address = 0, .bytes = 20 * kPageSize}, {.address = 4 * GiB, .bytes = 10 * kPageSize}}};
}

/// Zeroed memory for a layout.
class FakeMemory {
  public:
    explicit FakeMemory(const MemoryLayout& layout) {
        view_.layout = layout;
        for (const Region& region : layout.regions) {
            void* const at =
                ::mmap(nullptr, region.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            view_.mappings.emplace_back(static_cast<std::byte*>(at), region.bytes);
        }
    }
    FakeMemory(const FakeMemory&) = delete;
    FakeMemory& operator=(const FakeMemory&) = delete;
    ~FakeMemory() {
        for (const auto mapping : view_.mappings)
            ::munmap(mapping.data(), mapping.size());
    }
    [[nodiscard]] const MemoryView& view() const { return view_; }
    /// Writes a page's first word.
    void write(std::size_t region, std::uint64_t page, std::uint64_t value) const {
        std::memcpy(view_.pages({.region = region, .first = page}, 1).data() + 8, &value, sizeof value);
    }
    bool operator==(const FakeMemory& other) const {
        for (std::size_t region = 0; region < view_.mappings.size(); ++region) {
            if (std::memcmp(view_.mappings[region].data(), other.view_.mappings[region].data(),
                            view_.mappings[region].size()) != 0)
                return false;
        }
        return true;
    }

  private:
    MemoryView view_;
};

class FakeSource final : public SourceMachine {
  public:
    FakeSource(World& world, const MemoryLayout& layout)
        : world_(world), memory_(layout), log_(make_bits(layout, false)) {
        // Two pages of three are not zero.
        for (std::size_t region = 0; region < layout.regions.size(); ++region) {
            for (std::uint64_t page = 0; page < layout.regions[region].pages(); ++page)
                memory_.write(region, page, page % 3 == 0 ? 0 : page + 1);
        }
    }

    CallHook hook = [](std::string_view) -> Result<> { return {}; };
    /// How many more times the guest writes, each time pages are sent or asked for.
    std::atomic<int> writes{0};
    std::atomic<unsigned> throttled{0};
    std::atomic<unsigned> most_throttled{0};
    std::atomic<bool> tracking{false};
    std::vector<NamedFd> local_fds;

    [[nodiscard]] const FakeMemory& contents() const { return memory_; }

    Result<Description> describe() override {
        HAKO_TRY(hook("describe"));
        return Description{
            .uuid = kUuid, .epoch = kEpoch, .config = Blob(100), .cpu = Blob(50), .state_bytes = 1000};
    }
    const MemoryView& memory() override { return memory_.view(); }
    std::vector<NamedFd> fds() override { return local_fds; }

    Result<> start_dirty_tracking() override {
        HAKO_TRY(hook("start_dirty_tracking"));
        tracking = true;
        return {};
    }
    void stop_dirty_tracking() override { tracking = false; }
    Result<> fetch_dirty(PageBits& bits) override {
        HAKO_TRY(hook("fetch_dirty"));
        if (world_.runs() == World::Who::kSource && writes > 0) {
            --writes;
            for (std::uint64_t page = 0;
                 page < std::min<std::uint64_t>(memory_.view().layout.regions[0].pages(), 700); page += 7)
                dirty(0, page);
            dirty(1, 5);
        }
        const std::lock_guard lock(mutex_);
        for (std::size_t region = 0; region < bits.size(); ++region) {
            for (std::size_t word = 0; word < bits[region].size(); ++word)
                bits[region][word] |= log_[region][word];
        }
        return {};
    }
    Result<> clear_dirty(std::size_t region, std::uint64_t first, std::uint64_t /*pages*/,
                         std::span<const std::uint64_t> words) override {
        HAKO_TRY(hook("clear_dirty"));
        // The guest writes at the worst moments: just before the log is cleared, so that only reading the
        // page later brings the value, and just after, so that only the next round does.
        if (writes > 0) {
            std::uint64_t last = words.size() * 64 - 1;
            while ((words[last / 64] >> last % 64 & 1) == 0)
                --last;
            dirty(region, first + last);
        }
        {
            const std::lock_guard lock(mutex_);
            for (std::size_t word = 0; word < words.size(); ++word)
                log_[region][first / 64 + word] &= ~words[word];
        }
        if (writes > 0) dirty(region, first);
        return {};
    }
    void throttle(unsigned percent) override {
        throttled = percent;
        if (percent > most_throttled) most_throttled = percent;
    }

    Result<Stamp> pause() override {
        HAKO_TRY(hook("pause"));
        world_.pause(World::Who::kSource);
        return now_stamp();
    }
    Result<> resume() override {
        HAKO_TRY(hook("resume"));
        world_.run(World::Who::kSource);
        return {};
    }
    Result<Blob> save_state() override {
        HAKO_TRY(hook("save_state"));
        dirty(1, 8);  // a device's last words
        return Blob(1000, std::byte{42});
    }
    Result<> release_locks() override {
        HAKO_TRY(hook("release_locks"));
        world_.disown(World::Who::kSource);
        return {};
    }
    Result<> acquire_locks() override {
        HAKO_TRY(hook("acquire_locks"));
        if (!world_.own(World::Who::kSource)) return fail_conflict("the image is in use");
        return {};
    }
    Result<std::optional<EpochRecord>> read_epoch_record() override {
        HAKO_TRY(hook("read_epoch_record"));
        return world_.record();
    }
    Result<> write_epoch_record(const EpochRecord& record) override {
        HAKO_TRY(hook("write_epoch_record"));
        world_.set_record(record, World::Who::kSource);
        return {};
    }

  private:
    void dirty(std::size_t region, std::uint64_t page) {
        const std::lock_guard lock(mutex_);
        memory_.write(region, page, ++value_);
        log_[region][page / 64] |= std::uint64_t{1} << (page % 64);
    }

    World& world_;
    FakeMemory memory_;
    std::mutex mutex_;
    PageBits log_;
    std::uint64_t value_ = 1'000'000;
};

class FakeDestination final : public DestinationMachine {
  public:
    explicit FakeDestination(World& world) : world_(world) {}

    CallHook hook = [](std::string_view) -> Result<> { return {}; };
    std::optional<FakeMemory> memory;
    Blob state;
    std::vector<ReceivedFd> received_fds;
    std::chrono::nanoseconds restore_cost{0};
    bool discarded = false;
    std::shared_ptr<FakeTrap> trap;  ///< what catches the guest
    std::atomic<int> halts{0};

    Result<Prepared> prepare(const Hello& hello, std::vector<ReceivedFd> fds) override {
        HAKO_TRY(hook("prepare"));
        if (hello.layout.pages() > 64 * MiB / kPageSize)
            return fail_input("this host has not that much memory");
        memory.emplace(hello.layout);
        received_fds = std::move(fds);
        return Prepared{.memory = memory->view(), .restore_cost = restore_cost};
    }
    Result<std::unique_ptr<PageTrap>> trap_pages() override {
        HAKO_TRY(hook("trap_pages"));
        trap = std::make_shared<FakeTrap>(memory->view());
        return std::make_unique<LentTrap>(trap);
    }
    void halt() override {
        const std::lock_guard lock(mutex_);
        if (++halts == 1 && ran_) world_.pause(World::Who::kDestination);
    }
    void go_on() override {
        const std::lock_guard lock(mutex_);
        if (--halts == 0 && ran_) world_.run(World::Who::kDestination);
    }
    Result<> load_state(std::span<const std::byte> bytes) override {
        HAKO_TRY(hook("load_state"));
        state.assign(bytes.begin(), bytes.end());
        return {};
    }
    Result<> acquire_locks() override {
        HAKO_TRY(hook("acquire_locks"));
        if (!world_.own(World::Who::kDestination)) return fail_conflict("the image is in use");
        return {};
    }
    Result<> write_epoch_record(std::uint64_t epoch) override {
        HAKO_TRY(hook("write_epoch_record"));
        HAKO_TRY(may_start(world_.record(), kUuid, epoch));
        world_.set_record({.epoch = epoch, .vm = kUuid, .who = "the destination"}, World::Who::kDestination);
        return {};
    }
    Result<> withdraw_epoch_record(std::uint64_t epoch) override {
        HAKO_TRY(hook("withdraw_epoch_record"));
        if (world_.record())
            world_.set_record({.epoch = epoch, .vm = kUuid, .withdrawn = true, .who = "the destination"},
                              World::Who::kDestination);
        return {};
    }
    Result<Stamp> run() override {
        HAKO_TRY(hook("run"));
        const std::lock_guard lock(mutex_);
        ran_ = true;
        if (halts == 0) world_.run(World::Who::kDestination);
        return now_stamp();
    }
    void discard() override {
        discarded = true;
        memory.reset();
        world_.disown(World::Who::kDestination);
    }

  private:
    World& world_;
    std::mutex mutex_;
    bool ran_ = false;
};

}  // namespace hako::migration::testing
