// Disks and network interfaces under limits, on a clock that stands until the test moves it.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "tests/unit/virtio/block_fixture.h"
#include "tests/unit/virtio/net_fixture.h"
#include "tests/unit/virtio/temp_image.h"
#include "virtio/latency_histogram.h"

using namespace hako;
using namespace std::chrono_literals;
using test::Buffer;
using virtio::blk::RequestType;

namespace {

std::atomic<io::Time> g_now{io::Time(1h)};

io::Time test_clock() {
    return g_now.load();
}

/// A kick was seen and served after this: jobs and doorbells come by the same ring, in order.
void settle(io::Engine& engine) {
    for (int round = 0; round < 4; ++round)
        engine.run_sync([] {});
}

constexpr std::uint32_t kBlock = 4096;

virtio::blk::Config limited_disk(const std::string& path, const io::RateLimits& limits,
                                 std::uint16_t queues) {
    virtio::blk::Config config = test::disk_config(path, queues);
    config.limits = limits;
    return config;
}

struct LimitedDisk {
    explicit LimitedDisk(const io::RateLimits& its_limits, std::uint16_t queues = 1)
        : limits(its_limits), config(limited_disk(image.path(), limits, queues)) {
        disk.activate();
    }
    void ask(std::uint16_t count, std::size_t queue = 0, RequestType type = RequestType::kIn,
             std::uint32_t bytes = kBlock) {
        for (std::uint16_t i = 0; i < count; ++i) {
            std::vector<Buffer> data;
            if (type == RequestType::kIn) data.push_back({test::kData, bytes, true});
            if (type == RequestType::kOut) data.push_back({test::kData, bytes, false});
            REQUIRE(disk.drivers[queue].add(
                disk.request(static_cast<std::uint16_t>(100 * queue + next_++ % 100), type, 0, data)));
        }
        disk.kick(queue);
    }
    /// How many requests were answered since it was last asked; all that could be are.
    std::uint64_t answered(std::size_t queue = 0) {
        settle(*engine);
        disk.device->pause();
        for (const auto& position : disk.device->queue_positions())
            CHECK(position.next_avail == position.next_used);  // what waits does so in the ring
        disk.device->resume();
        settle(*engine);
        std::uint64_t count = 0;
        while (disk.drivers[queue].take_used())
            ++count;
        return count;
    }
    /// Moves the clock; who waits looks at it.
    void pass(std::chrono::nanoseconds time) {
        g_now = g_now.load() + time;
        disk.device->set_limits(limits);
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    test::TempImage image{8 * MiB};
    io::RateLimits limits;
    virtio::blk::Config config;
    test::BlockFixture disk{*engine, config, virtio::blk::Disk::open(config).value(), std::nullopt,
                            test_clock};

  private:
    std::uint16_t next_ = 0;
};

struct LimitedNic {
    explicit LimitedNic(const virtio::net::Limits& its_limits)
        : limits(its_limits), nic(*engine, config(), test_clock) {
        nic.activate();
    }
    virtio::net::Config config() {
        virtio::net::Config made = test::nic_config();
        made.limits = limits;
        return made;
    }
    void send(int count) {
        nic.put(test::kPackets, test::frame(1000, 1));
        for (int i = 0; i < count; ++i)
            REQUIRE(nic.drivers[1].add(std::array{Buffer{test::kPackets, 1012, false}}));
        nic.kick(1);
    }
    void offer(int count) {
        for (int i = 0; i < count; ++i)
            nic.offer(test::kPackets + 1 * MiB + 2048 * static_cast<std::uint64_t>(i), 2048);
        nic.kick(0);
    }
    void arrive(int count) {
        for (int i = 0; i < count; ++i)
            nic.arrive(test::frame(1000, 1));
    }
    /// How many chains came back since it was last asked.
    int returned(std::size_t queue) {
        nic.engine_round();
        nic.device->pause();
        nic.device->resume();
        nic.engine_round();
        int count = 0;
        while (nic.drivers[queue].take_used())
            ++count;
        return count;
    }
    int departed() {
        int count = 0;
        while (nic.departed(0, 0))
            ++count;
        return count;
    }
    void pass(std::chrono::nanoseconds time) {
        g_now = g_now.load() + time;
        REQUIRE(nic.device->set_limits(limits));
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    virtio::net::Limits limits;
    test::NetFixture nic;
};

/// 1000 packets' worth of bytes a second, ten of them at once.
constexpr io::RateLimits kPacketBytes = {.bytes = {.tokens = 1'000'000, .burst = 10'000}, .operations = {}};

}  // namespace

TEST_CASE("a disk moves no more bytes than its burst and what the time brought") {
    // 1000 blocks a second, 4 at once.
    LimitedDisk disk({.bytes = {.tokens = 1000 * kBlock, .burst = 4 * kBlock}, .operations = {}});
    disk.ask(15);
    CHECK(disk.answered() == 4);
    CHECK(disk.disk.device->metrics(0).throttled > 0);
    disk.pass(1ms - 1us);  // a token is enough: the rest is owed
    CHECK(disk.answered() == 1);
    disk.pass(1us);
    CHECK(disk.answered() == 0);
    std::uint64_t done = 5;
    for (int i = 0; i < 4; ++i) {
        disk.pass(1ms);
        done += disk.answered();
    }
    CHECK(done == 9);
    disk.pass(1h);
    CHECK(disk.answered() == 4);
    disk.pass(1h);
    CHECK(disk.answered() == 2);
    CHECK(disk.disk.device->metrics(0).reads == 15);
    CHECK(disk.answered() == 0);
}

TEST_CASE("over a second a disk does what its limits say, in bytes and in operations") {
    for (const bool bytes : {true, false}) {
        const io::Rate rate{.tokens = bytes ? 200 * kBlock : 200U, .burst = bytes ? 20 * kBlock : 20U};
        LimitedDisk disk(bytes ? io::RateLimits{.bytes = rate, .operations = {}}
                               : io::RateLimits{.bytes = {}, .operations = rate});
        std::uint64_t done = 0;
        disk.ask(20);
        for (int i = 0; i < 100; ++i) {
            const std::uint64_t now = disk.answered();
            done += now;
            disk.ask(static_cast<std::uint16_t>(now), 0, i % 2 == 0 ? RequestType::kIn : RequestType::kOut);
            disk.pass(10ms);
        }
        CHECK(done >= 20 + 198);
        CHECK(done <= 20 + 201);
    }
}

TEST_CASE("flushes and what is refused are operations, too, and cost no bytes") {
    LimitedDisk disk({.bytes = {.tokens = 1, .burst = 1}, .operations = {.tokens = 10, .burst = 3}});
    disk.ask(2, 0, RequestType::kFlush);
    disk.ask(2, 0, static_cast<RequestType>(77));
    CHECK(disk.answered() == 3);
    disk.pass(100ms);
    CHECK(disk.answered() == 1);
    disk.pass(100ms);
    disk.ask(1);  // the one byte there is lets it go
    CHECK(disk.answered() == 1);
    disk.pass(1s);
    disk.ask(1, 0, RequestType::kFlush);
    CHECK(disk.answered() == 0);  // its bytes are owed by all
}

TEST_CASE("a request larger than the burst goes, and is paid off by those after it") {
    LimitedDisk disk({.bytes = {.tokens = kBlock, .burst = kBlock}, .operations = {}});
    disk.ask(1, 0, RequestType::kIn, 16 * kBlock);
    disk.ask(1);
    CHECK(disk.answered() == 1);
    disk.pass(15s);
    CHECK(disk.answered() == 0);
    disk.pass(1s);
    CHECK(disk.answered() == 1);
}

TEST_CASE("a changed limit holds at once, also for requests that wait") {
    LimitedDisk disk({.bytes = {}, .operations = {.tokens = 1, .burst = 1}});
    disk.ask(12);
    CHECK(disk.answered() == 1);
    disk.limits.operations = {.tokens = 1000, .burst = 100};
    disk.pass(2ms);
    CHECK(disk.answered() == 0);  // the old rate's 0.002 are there
    disk.pass(2ms);
    CHECK(disk.answered() == 2);
    disk.limits = {};
    disk.pass(0ns);
    CHECK(disk.answered() == 9);
    // A device that had no limit gains no burst by getting one.
    disk.limits.operations = {.tokens = 10, .burst = 5};
    disk.pass(0ns);
    disk.ask(6);
    CHECK(disk.answered() == 0);
    disk.pass(100ms);
    CHECK(disk.answered() == 1);
    disk.limits.operations.one_time_burst = 3;
    disk.pass(0ns);
    CHECK(disk.answered() == 3);
}

TEST_CASE("the queues of a disk share its limit, and none starves") {
    LimitedDisk disk({.bytes = {}, .operations = {.tokens = 100, .burst = 1}}, 3);
    std::array<std::uint64_t, 3> done{};
    for (std::size_t queue = 0; queue < 3; ++queue)
        disk.ask(10, queue);
    const auto total = [&] {
        settle(*disk.engine);
        for (std::size_t queue = 0; queue < 3; ++queue) {
            while (disk.disk.drivers[queue].take_used())
                ++done[queue];
        }
        return done[0] + done[1] + done[2];
    };
    for (std::uint64_t i = 1; i <= 13; ++i) {
        for (int patience = 10'000; total() < i && patience > 0; --patience) {
        }
        disk.pass(10ms);
    }
    CHECK(total() <= 14);
    CHECK(done[0] >= 3);
    CHECK(done[1] >= 3);
    CHECK(done[2] >= 3);
}

TEST_CASE("a disk that waits for its limit sleeps, is paused and reset at once, and gains nothing by it") {
    LimitedDisk disk({.bytes = {}, .operations = {.tokens = 1, .burst = 2}});
    disk.ask(5);
    CHECK(disk.answered() == 2);
    CHECK(disk.disk.drivers[0].used_flags() == 1);  // VIRTQ_USED_F_NO_NOTIFY
    const std::uint64_t before = disk.engine->counters().wakeups;
    for (int i = 0; i < 10; ++i)
        settle(*disk.engine);
    CHECK(disk.engine->counters().wakeups - before <= 40 + 2);  // nobody but the jobs woke it
    disk.disk.device->pause();
    disk.pass(1h);
    CHECK_FALSE(disk.disk.drivers[0].take_used());
    disk.disk.device->resume();
    CHECK(disk.answered() == 2);
    disk.disk.device->reset();
    disk.disk.device->set_limits(disk.limits);  // inactive: fine
    disk.disk.drivers.clear();
    disk.disk.drivers.emplace_back(disk.disk.memory, GuestAddress{64 * KiB}, std::uint16_t{64});
    disk.disk.activate();
    disk.ask(3);
    CHECK(disk.answered() == 0);
    disk.pass(1s);
    CHECK(disk.answered() == 1);
}

TEST_CASE("the timeout alone serves what waits for a limit") {
    // On the real clock, fast enough to be over soon.
    auto engine = io::Engine::create().value();
    const test::TempImage image(8 * MiB);
    test::BlockFixture disk(
        *engine, limited_disk(image.path(), {.bytes = {}, .operations = {.tokens = 1000, .burst = 1}}, 1));
    disk.activate();
    for (int i = 0; i < 20; ++i)
        CHECK(disk.read(0, test::kData, kBlock) == test::Answer{.status = test::kOk, .written = kBlock + 1});
    CHECK(disk.device->metrics(0).throttled > 0);
}

TEST_CASE("a disk without limits is not throttled, and each request has its latency") {
    LimitedDisk disk({});
    disk.ask(20);
    CHECK(disk.answered() == 20);
    const auto metrics = disk.disk.device->metrics(0);
    CHECK(metrics.throttled == 0);
    CHECK(metrics.latency.buckets[0] == 20);  // the clock stood
    CHECK(metrics.latency.total_ns == 0);
}

TEST_CASE("latencies are counted by powers of two") {
    virtio::LatencyHistogram histogram;
    histogram.add(-5ns);
    histogram.add(999ns);
    histogram.add(1us);
    histogram.add(2us);
    histogram.add(3999ns);
    histogram.add(1024us);
    histogram.add(1h);
    const auto values = histogram.values();
    CHECK(values.buckets[0] == 2);
    CHECK(values.buckets[1] == 1);
    CHECK(values.buckets[2] == 2);
    CHECK(values.buckets[11] == 1);
    CHECK(values.buckets.back() == 1);
    CHECK(values.total_ns == 999 + 1000 + 2000 + 3999 + 1'024'000 + 3'600'000'000'000);
}

TEST_CASE("a guest sends no more than its limit, and the rest waits in its queue") {
    LimitedNic nic({.rx = {}, .tx = kPacketBytes});
    nic.send(25);
    CHECK(nic.returned(1) == 10);
    CHECK(nic.departed() == 10);
    CHECK(nic.nic.device->metrics(1).throttled > 0);
    nic.pass(5ms);
    CHECK(nic.returned(1) == 5);
    CHECK(nic.departed() == 5);
    CHECK(nic.nic.device->metrics(1).dropped == 0);
    nic.arrive(30);  // the other direction has no limit
    nic.offer(30);
    CHECK(nic.returned(0) == 30);
    nic.limits.tx = {};
    nic.pass(0ns);
    CHECK(nic.returned(1) == 10);
    CHECK(nic.departed() == 10);
}

TEST_CASE("a guest receives no more than its limit, and the rest waits in the tap") {
    LimitedNic nic({.rx = {.bytes = {}, .operations = {.tokens = 1000, .burst = 10}}, .tx = {}});
    nic.offer(40);
    nic.arrive(25);
    CHECK(nic.returned(0) == 10);
    CHECK(nic.nic.device->metrics(0).throttled > 0);
    nic.pass(5ms);
    CHECK(nic.returned(0) == 5);
    nic.pass(1h);
    CHECK(nic.returned(0) == 10);
    CHECK(nic.nic.device->metrics(0).dropped == 0);
    nic.pass(1h);
    nic.arrive(1);  // it listens again
    CHECK(nic.returned(0) == 1);
}

TEST_CASE("received bytes beyond the limit are few, and owed") {
    LimitedNic nic({.rx = kPacketBytes, .tx = {}});
    nic.offer(60);
    nic.arrive(60);
    int got = nic.returned(0);
    CHECK(got >= 10);
    CHECK(got <= 20);  // as many reads at once as the tokens allow for packets like the last ones
    for (int i = 0; i < 20; ++i) {
        nic.pass(1ms);
        got += nic.returned(0);
    }
    CHECK(got >= 29);
    CHECK(got <= 31);
}

TEST_CASE("packets that come while a receive queue waits for its limit wake nobody") {
    LimitedNic nic({.rx = {.bytes = {}, .operations = {.tokens = 1, .burst = 1}}, .tx = {}});
    nic.offer(40);
    nic.arrive(2);
    CHECK(nic.returned(0) == 1);
    settle(*nic.engine);
    const std::uint64_t before = nic.engine->counters().cqes;
    nic.arrive(20);
    settle(*nic.engine);
    CHECK(nic.engine->counters().cqes - before <= 4);  // those of the jobs
    nic.pass(1h);
    CHECK(nic.returned(0) == 1);
    nic.limits.rx = {};
    nic.pass(0ns);
    CHECK(nic.returned(0) == 20);
}

TEST_CASE("a pulled cable drops what waits for a limit, at no cost") {
    LimitedNic nic({.rx = {.bytes = {}, .operations = {.tokens = 1, .burst = 1}},
                    .tx = {.bytes = {}, .operations = {.tokens = 1, .burst = 1}}});
    nic.offer(10);
    nic.arrive(5);
    nic.send(5);
    CHECK(nic.returned(0) == 1);
    CHECK(nic.returned(1) == 1);
    nic.nic.device->set_link(false);
    CHECK(nic.returned(1) == 4);
    CHECK(nic.returned(0) == 0);
    CHECK(nic.nic.device->metrics(0).dropped == 4);
    CHECK(nic.nic.device->metrics(1).dropped == 4);
    CHECK(nic.departed() == 1);
    nic.nic.device->set_link(true);
    nic.pass(1s);
    nic.arrive(1);
    nic.send(1);
    CHECK(nic.returned(0) == 1);
    CHECK(nic.returned(1) == 1);
}

TEST_CASE("a network interface that waits for its limits is paused and reset at once") {
    LimitedNic nic({.rx = kPacketBytes, .tx = kPacketBytes});
    nic.offer(60);
    nic.arrive(60);
    nic.send(30);
    CHECK(nic.returned(1) == 10);
    nic.nic.device->pause();
    for (const auto& position : nic.nic.device->queue_positions())
        CHECK(position.next_avail - position.next_used == 0);
    nic.nic.device->reset();
    nic.nic.device->resume();
    nic.nic.make_drivers();
    nic.nic.activate();
    nic.send(1);
    CHECK(nic.returned(1) == 0);  // and gains nothing by it
    nic.pass(1ms);
    CHECK(nic.returned(1) == 1);
}
