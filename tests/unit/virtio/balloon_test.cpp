#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/balloon/device.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::balloon;
using test::Buffer;
using test::DriverQueue;

namespace {

/// Guest memory: rings from 64 KiB, requests from 1 MiB, what is given from 4 MiB.
constexpr GuestAddress kRings{64 * KiB};
constexpr GuestAddress kRequest{1 * MiB};
constexpr PageNumber kFirst = 4 * MiB / kPageSize;
constexpr std::uint64_t kSize = 16 * MiB;
constexpr PageNumber kEnd = kSize / kPageSize;

constexpr std::size_t kInflate = 0;
constexpr std::size_t kDeflate = 1;
constexpr std::size_t kStats = 2;
constexpr std::size_t kReports = 3;

/// A driver, and the memory it shares with the device.
struct Balloon {
    explicit Balloon(const Config& config = {.free_page_reporting = true},
                     const std::optional<State>& state = std::nullopt)
        : device(BalloonDevice::create(config, *engine, state).value()) {
        renew_drivers();
    }
    ~Balloon() { device.reset(); }

    void renew_drivers() {
        drivers.clear();
        for (const std::uint16_t size : device->queue_max_sizes())
            drivers.emplace_back(memory, drivers.empty() ? kRings : drivers.back().end(), size);
    }
    void activate(std::span<const QueuePosition> positions = {}) {
        std::vector<QueueConfig> queues;
        for (const DriverQueue& driver : drivers)
            queues.push_back(driver.config());
        REQUIRE(device->activate({.features = device->features() & ~virtio::feature::kEventIdx,
                                  .memory = memory,
                                  .hooks = transport,
                                  .queues = queues,
                                  .kicks = transport.kicks,
                                  .positions = positions}));
    }
    void kick(std::size_t queue) {
        drivers[queue].publish();
        transport.kicks[queue].signal();
    }
    std::optional<DriverQueue::Used> await(std::size_t queue) {
        for (;;) {
            if (const auto used = drivers[queue].take_used()) return used;
            if (!test::wait_for(transport.interrupts[queue])) return std::nullopt;
        }
    }
    /// The kick has been seen and served after this: jobs and doorbells come by the same ring, in order.
    void settle() {
        for (int round = 0; round < 6; ++round)
            engine->run_sync([] {});
    }
    void offer(std::size_t queue, const std::vector<PageNumber>& pages, std::uint64_t at = 0) {
        const auto bytes = std::as_bytes(std::span(pages));
        REQUIRE(memory.write(kRequest + at, bytes));
        REQUIRE(drivers[queue].add(
            std::array{Buffer{kRequest + at, static_cast<std::uint32_t>(bytes.size()), false}}));
        kick(queue);
    }
    void give(const std::vector<PageNumber>& pages) {
        offer(kInflate, pages);
        const auto used = await(kInflate);
        REQUIRE(used);
        CHECK(used->written == 0);
    }
    void fill() {
        for (std::uint64_t page = 0; page < kEnd - kFirst; ++page)
            REQUIRE(memory.store(GuestAddress{(kFirst + page) * kPageSize}, std::uint64_t{0xfeed}));
    }
    [[nodiscard]] bool kept(PageNumber page) const {
        return memory.load<std::uint64_t>(GuestAddress{page * kPageSize}) == 0xfeed;
    }
    /// Bytes of memory that the host has for the guest.
    [[nodiscard]] std::uint64_t resident() const {
        struct stat status{};
        REQUIRE(::fstat(memory.fd(), &status) == 0);
        return static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    [[nodiscard]] std::uint32_t read_config(std::uint32_t offset) const {
        std::array<std::byte, 4> bytes{};
        device->read_config(offset, bytes);
        std::uint32_t value = 0;
        std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    void write_config(std::uint32_t offset, std::uint32_t value) const {
        device->write_config(offset, std::as_bytes(std::span(&value, 1)));
    }

    GuestMemory memory = GuestMemory::create({.size = kSize, .thp = false}).value();
    test::FakeTransport transport{4};
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    std::unique_ptr<BalloonDevice> device;
    std::vector<DriverQueue> drivers;
};

std::vector<PageNumber> pages_from(PageNumber first, std::size_t count) {
    std::vector<PageNumber> pages(count);
    for (std::size_t i = 0; i < count; ++i)
        pages[i] = first + static_cast<PageNumber>(i);
    return pages;
}

/// The driver's statistics, as they lie in its buffer.
std::vector<std::byte> values(const std::vector<std::pair<std::uint16_t, std::uint64_t>>& all) {
    std::vector<std::byte> bytes;
    for (const auto& [tag, value] : all) {
        std::array<std::byte, kStatisticBytes> entry{};
        std::memcpy(entry.data(), &tag, sizeof tag);
        std::memcpy(entry.data() + sizeof tag, &value, sizeof value);
        bytes.insert(bytes.end(), entry.begin(), entry.end());
    }
    return bytes;
}

}  // namespace

TEST_CASE("pages that the guest gives are the host's, and zeros when it has them back") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    REQUIRE(balloon.memory.store(kRequest, std::uint64_t{0}));
    const std::uint64_t before = balloon.resident();
    // In no order, one twice: the pages between them stay.
    balloon.give({kFirst + 9, kFirst + 2, kFirst + 1, kFirst + 8, kFirst + 1, kEnd - 1});
    CHECK(balloon.resident() == before - 5 * kPageSize);
    for (const PageNumber gone : {kFirst + 1, kFirst + 2, kFirst + 8, kFirst + 9, kEnd - 1})
        CHECK(balloon.memory.load<std::uint64_t>(GuestAddress{gone * kPageSize}) == 0);
    for (const PageNumber kept : {kFirst, kFirst + 3, kFirst + 7, kFirst + 10, kEnd - 2})
        CHECK(balloon.kept(kept));
    const Metrics metrics = balloon.device->metrics(Role::kInflate);
    CHECK(metrics.requests == 1);
    CHECK(metrics.pages == 6);
    CHECK(metrics.errors == 0);

    balloon.fill();
    balloon.offer(kDeflate, {kFirst + 1, kFirst + 2});
    REQUIRE(balloon.await(kDeflate));
    CHECK(balloon.kept(kFirst + 1));
    CHECK(balloon.device->metrics(Role::kDeflate).pages == 2);
    CHECK(balloon.device->metrics(Role::kDeflate).discarded == 0);
}

TEST_CASE("a request of many pages is done in batches, and answered once") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    balloon.give(pages_from(kFirst, kEnd - kFirst));
    CHECK(balloon.device->metrics(Role::kInflate).pages == kEnd - kFirst);
    CHECK(balloon.device->metrics(Role::kInflate).requests == 1);
    CHECK(balloon.device->metrics(Role::kInflate).discarded == kEnd - kFirst);
    for (PageNumber page = kFirst; page < kEnd; ++page)
        REQUIRE_FALSE(balloon.kept(page));
    // As Linux sends them.
    balloon.fill();
    for (std::uint64_t i = 0; i < 8; ++i)
        balloon.offer(kInflate, pages_from(kFirst + static_cast<PageNumber>(i * 256), 256), i * KiB);
    for (int i = 0; i < 8; ++i)
        REQUIRE(balloon.await(kInflate));
    for (PageNumber page = kFirst; page < kFirst + 8 * 256; ++page)
        REQUIRE_FALSE(balloon.kept(page));
    CHECK(balloon.kept(kFirst + 8 * 256));
}

TEST_CASE("what is no page of guest memory is passed over and counted") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    balloon.give({kEnd, UINT32_MAX, kFirst, 0x000f'ffff, 0x8000'0000 + kFirst, kEnd + 1});
    CHECK_FALSE(balloon.kept(kFirst));
    CHECK(balloon.kept(kFirst + 1));
    CHECK(balloon.kept(kEnd - 1));
    CHECK(balloon.device->metrics(Role::kInflate).pages == 1);
    CHECK(balloon.device->metrics(Role::kInflate).errors == 5);
    // Half a page number, and a buffer that is for the device to write.
    REQUIRE(balloon.memory.store(kRequest, kFirst + 1));
    REQUIRE(balloon.drivers[kInflate].add(std::array{Buffer{kRequest, 6, false}}));
    REQUIRE(balloon.drivers[kInflate].add(std::array{Buffer{kRequest + 64, 64, true}}));
    balloon.kick(kInflate);
    REQUIRE(balloon.await(kInflate));
    REQUIRE(balloon.await(kInflate));
    CHECK_FALSE(balloon.kept(kFirst + 1));
    CHECK(balloon.device->metrics(Role::kInflate).errors == 7);
    CHECK_FALSE(balloon.transport.reset_wanted.pending());
}

TEST_CASE("a driver that breaks a ring is told to reset") {
    for (const std::size_t queue : {kInflate, kDeflate, kStats, kReports}) {
        Balloon balloon;
        balloon.activate();
        balloon.drivers[queue].offer(BalloonDevice::kQueueSize);
        balloon.kick(queue);
        REQUIRE(test::wait_for(balloon.transport.reset_wanted));
        CHECK(balloon.transport.reset_reason().find("beyond the table") != std::string::npos);
        balloon.device->reset();
        balloon.renew_drivers();
        balloon.activate();
        balloon.give({kFirst});
    }
}

TEST_CASE("what was given back is dirty: it reads as zeros") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    balloon.device->pause();
    balloon.memory.start_dirty_tracking();
    balloon.device->resume();
    balloon.give({kFirst + 3, kFirst + 4});
    DirtyBitmap& dirty = *balloon.memory.dirty_bitmap(0);
    CHECK(dirty.take(kFirst / 64) == 0b11000);
}

TEST_CASE("free pages that are reported go back, whole ones only") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    const std::uint64_t first = kFirst * kPageSize;
    REQUIRE(balloon.drivers[kReports].add(
        std::array{Buffer{GuestAddress{first + 8}, 3 * kPageSize, true},
                   Buffer{GuestAddress{first + 8 * kPageSize}, 2 * kPageSize, true},
                   Buffer{GuestAddress{first + 16 * kPageSize + 1}, 100, true},
                   Buffer{GuestAddress{first + 20 * kPageSize}, 9 * MiB, true}}));
    balloon.kick(kReports);
    const auto used = balloon.await(kReports);
    REQUIRE(used);
    CHECK(used->written == 0);
    CHECK(balloon.kept(kFirst));
    CHECK_FALSE(balloon.kept(kFirst + 1));
    CHECK_FALSE(balloon.kept(kFirst + 2));
    CHECK(balloon.kept(kFirst + 3));
    CHECK_FALSE(balloon.kept(kFirst + 8));
    CHECK_FALSE(balloon.kept(kFirst + 9));
    CHECK(balloon.kept(kFirst + 10));
    CHECK(balloon.kept(kFirst + 16));
    CHECK(balloon.kept(kFirst + 17));
    const PageNumber large = 9 * MiB / kPageSize;
    for (PageNumber page = 0; page < large; ++page)
        REQUIRE_FALSE(balloon.kept(kFirst + 20 + page));
    CHECK(balloon.kept(kFirst + 20 + large));
    CHECK(balloon.device->metrics(Role::kReporting).pages == 2 + 2 + large);
    CHECK(balloon.device->metrics(Role::kReporting).discarded == 2 + 2 + large);
}

TEST_CASE(
    "a driver that fills free pages with something keeps them, as does one that reports readable ones") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    balloon.write_config(12, 0xaaaa'aaaa);
    const Buffer page{GuestAddress{kFirst * kPageSize}, kPageSize, true};
    REQUIRE(balloon.drivers[kReports].add(std::array{page}));
    balloon.kick(kReports);
    REQUIRE(balloon.await(kReports));
    CHECK(balloon.kept(kFirst));
    balloon.write_config(12, 0);
    REQUIRE(balloon.drivers[kReports].add(std::array{Buffer{page.address, page.length, false}, page}));
    balloon.kick(kReports);
    REQUIRE(balloon.await(kReports));
    CHECK(balloon.kept(kFirst));
    CHECK(balloon.device->metrics(Role::kReporting).errors == 1);
}

TEST_CASE("while pages are still to come none is given back, and what was asked for waits") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    balloon.memory.discard_gate()->close();
    balloon.offer(kInflate, {kFirst});
    balloon.settle();
    CHECK_FALSE(balloon.drivers[kInflate].take_used());
    CHECK(balloon.kept(kFirst));
    SUBCASE("until they have") {
        balloon.memory.discard_gate()->open();
        REQUIRE(balloon.await(kInflate));
        CHECK_FALSE(balloon.kept(kFirst));
    }
    SUBCASE("and holds up neither a pause nor a reset") {
        balloon.device->pause();
        balloon.device->resume();
        balloon.device->reset();
        CHECK(balloon.kept(kFirst));
    }
}

TEST_CASE("the host says how large it is to be, the driver how large it is") {
    Balloon balloon({.size = 3 * MiB + 5, .deflate_on_oom = true});
    CHECK((balloon.device->features() & balloon::feature::kDeflateOnOom) != 0);
    CHECK((balloon.device->features() & balloon::feature::kPageReporting) == 0);
    CHECK(balloon.device->queue_max_sizes().size() == 3);
    CHECK(balloon.read_config(0) == 768);
    balloon.device->resize(4 * MiB);  // nobody to tell yet
    CHECK_FALSE(balloon.transport.config_change.pending());
    balloon.activate();
    balloon.device->resize(4 * MiB);  // no news
    CHECK_FALSE(balloon.transport.config_change.pending());
    balloon.device->resize(5 * MiB);
    CHECK(balloon.transport.config_change.take() == 1);
    CHECK(balloon.read_config(0) == 1280);
    CHECK(balloon.device->wanted() == 5 * MiB);

    balloon.write_config(4, 77);
    CHECK(balloon.device->actual() == 77 * kPageSize);
    CHECK(balloon.read_config(4) == 77);
    balloon.write_config(0, 1);  // is not the driver's
    balloon.write_config(UINT32_MAX, 1);
    balloon.write_config(16, 1);
    CHECK(balloon.read_config(0) == 1280);
    const std::array<std::byte, 1> high = {std::byte{1}};
    balloon.device->write_config(7, high);
    CHECK(balloon.read_config(4) == 0x0100'004d);
    std::array<std::byte, 64> all{};
    balloon.device->write_config(14, all);
    balloon.device->read_config(14, all);
    CHECK(std::ranges::all_of(all, [](std::byte byte) { return byte == std::byte{0}; }));

    // The next driver begins with an empty one.
    balloon.device->reset();
    CHECK(balloon.device->actual() == 0);
    CHECK(balloon.read_config(0) == 1280);
}

TEST_CASE("the guest's statistics are there at once, and fresh ones are asked for each time") {
    Balloon balloon;
    CHECK(balloon.device->statistics().empty());
    balloon.activate();
    const auto say = [&](const std::vector<std::byte>& bytes) {
        REQUIRE(balloon.memory.write(kRequest, bytes));
        REQUIRE(balloon.drivers[kStats].add(
            std::array{Buffer{kRequest, static_cast<std::uint32_t>(bytes.size()), false}}));
        balloon.kick(kStats);
        balloon.settle();
    };
    const auto told = [&] {
        std::map<std::string, std::uint64_t> all;
        for (const auto& [name, value] : balloon.device->statistics())
            all.emplace(name, value);
        return all;
    };
    say(values({{4, 1000}, {5, 2000}, {99, 1}, {0xffff, 2}}));
    CHECK_FALSE(balloon.drivers[kStats].take_used());  // nobody has asked yet
    CHECK(told() == std::map<std::string, std::uint64_t>{{"free_memory", 1000}, {"total_memory", 2000}});
    const auto used = balloon.await(kStats);
    REQUIRE(used);
    CHECK(used->written == 0);
    CHECK(told().at("free_memory") == 1000);
    CHECK(told().at("free_memory") == 1000);
    // An answer to all who asked meanwhile, and it is kept.
    say(values({{4, 900}}));
    REQUIRE(balloon.await(kStats));
    balloon.settle();
    say(values({{4, 800}}));
    CHECK(balloon.device->metrics(Role::kStatistics).requests == 3);
    CHECK(told() == std::map<std::string, std::uint64_t>{{"free_memory", 800}, {"total_memory", 2000}});
}

TEST_CASE("statistics that are none do no harm") {
    Balloon balloon;
    balloon.activate();
    std::vector<std::pair<std::uint16_t, std::uint64_t>> many(1000, {std::uint16_t{7}, 5});
    std::vector<std::byte> bytes = values(many);
    bytes.resize(bytes.size() - 3);
    REQUIRE(balloon.memory.write(kRequest, bytes));
    REQUIRE(balloon.drivers[kStats].add(
        std::array{Buffer{kRequest, static_cast<std::uint32_t>(bytes.size()), false}}));
    REQUIRE(balloon.drivers[kStats].add(std::array{Buffer{kRequest, 100, true}}));
    REQUIRE(balloon.drivers[kStats].add(std::array{Buffer{kRequest, 3, false}}));
    balloon.kick(kStats);
    balloon.settle();
    for (int asked = 0; asked < 3; ++asked) {
        const auto told = balloon.device->statistics();
        REQUIRE(told.size() == 1);
        CHECK(told[0] == std::pair<std::string_view, std::uint64_t>{"disk_caches", 5});
        REQUIRE(balloon.await(kStats));
    }
    CHECK(balloon.device->metrics(Role::kStatistics).errors == 3);
}

TEST_CASE("a pause holds all queues, and nothing is in flight") {
    Balloon balloon;
    balloon.activate();
    balloon.fill();
    balloon.offer(kInflate, pages_from(kFirst, 3000));
    balloon.device->pause();
    const auto positions = balloon.device->queue_positions();
    for (const QueuePosition& position : positions)
        CHECK(position.next_avail == position.next_used);
    balloon.offer(kDeflate, {kFirst});
    balloon.settle();
    CHECK_FALSE(balloon.drivers[kDeflate].take_used());
    balloon.device->resume();
    REQUIRE(balloon.await(kInflate));
    REQUIRE(balloon.await(kDeflate));
    for (PageNumber page = kFirst; page < kFirst + 3000; ++page)
        REQUIRE_FALSE(balloon.kept(page));
}

TEST_CASE("a restored balloon goes on in the middle of a request") {
    const Config config{.size = 8 * MiB, .free_page_reporting = true};
    Balloon balloon(config);
    balloon.activate();
    balloon.fill();
    balloon.write_config(4, 33);
    REQUIRE(balloon.memory.write(kRequest + 64 * KiB, values({{4, 1}})));
    REQUIRE(balloon.drivers[kStats].add(std::array{Buffer{kRequest + 64 * KiB, 10, false}}));
    balloon.kick(kStats);
    balloon.settle();
    balloon.offer(kInflate, pages_from(kFirst, 2000));
    balloon.device->pause();
    const State saved = balloon.device->state();
    CHECK(saved.actual == 33);
    CHECK(saved.num_pages == 2048);
    const auto positions = balloon.device->queue_positions();

    // Destroyed while active, as when the machine goes.
    balloon.device.reset();
    balloon.device = BalloonDevice::create(config, *balloon.engine, saved).value();
    CHECK(balloon.device->state() == saved);
    balloon.device->pause();
    balloon.activate(positions);
    balloon.device->resume();
    if (positions[kInflate].next_used == 0) REQUIRE(balloon.await(kInflate));
    for (PageNumber page = kFirst; page < kFirst + 2000; ++page)
        REQUIRE_FALSE(balloon.kept(page));
    balloon.settle();
    REQUIRE(balloon.device->statistics().size() == 1);  // the buffer was left for it
    REQUIRE(balloon.await(kStats));
}

TEST_CASE("a state that cannot be, or is for another balloon, is refused") {
    auto engine = io::Engine::create().value();
    const auto make = [&](const State& state, const Config& config = {.size = 4096}) {
        return BalloonDevice::create(config, *engine, state);
    };
    const State good{.features = virtio::feature::kVersion1, .num_pages = 1};
    CHECK(make(good));
    CHECK(make(good).value()->queue_max_sizes().size() == 2);
    for (State bad : {State{.features = 0, .num_pages = 1},
                      State{.features = virtio::feature::kVersion1 | 1, .num_pages = 1},
                      State{.features = virtio::feature::kVersion1, .num_pages = 2}}) {
        const auto made = make(bad);
        REQUIRE_FALSE(made);
        CHECK(made.error().fault() == Fault::kInput);
    }
    CHECK_FALSE(BalloonDevice::create({.size = std::uint64_t{1} << 45}, *engine));
    CHECK(balloon::check({.size = 1 * MiB}, {.size = 2 * MiB}));
    CHECK_FALSE(balloon::check({.size = 2 * MiB}, {.size = 2 * MiB}));
    CHECK_FALSE(balloon::check({}, {.size = 2 * MiB, .hugepages = true}));
}

TEST_CASE("a driver that takes no statistics has its other queues one number lower") {
    Balloon balloon;
    balloon.fill();
    std::vector<QueueConfig> queues;
    for (const DriverQueue& driver : balloon.drivers)
        queues.push_back(driver.config());
    queues[3].enabled = false;
    REQUIRE(
        balloon.device->activate({.features = virtio::feature::kVersion1 | balloon::feature::kPageReporting,
                                  .memory = balloon.memory,
                                  .hooks = balloon.transport,
                                  .queues = queues,
                                  .kicks = balloon.transport.kicks,
                                  .positions = {}}));
    REQUIRE(balloon.drivers[2].add(std::array{Buffer{GuestAddress{kFirst * kPageSize}, kPageSize, true}}));
    balloon.kick(2);
    REQUIRE(balloon.await(2));
    CHECK_FALSE(balloon.kept(kFirst));
    CHECK(balloon.device->statistics().empty());
}
