#include <doctest/doctest.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <latch>
#include <memory>
#include <optional>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/rng/device.h"
#include "virtio/rng/request_queue.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::rng;
using namespace std::chrono_literals;
using test::Buffer;
using test::DriverQueue;

namespace {

/// Guest memory: rings from 64 KiB, indirect tables from 1 MiB, data from 2 MiB.
constexpr GuestAddress kRings{64 * KiB};
constexpr GuestAddress kTable{1 * MiB};
constexpr GuestAddress kData{2 * MiB};

/// A driver and the memory it shares with a device.
struct Guest {
    /// A buffer of zeros for the device to fill.
    Buffer buffer(std::uint64_t offset, std::uint32_t length) {
        std::memset(memory.writable(kData + offset, length)->data(), 0, length);
        return {kData + offset, length, true};
    }
    std::optional<std::uint16_t> ask(std::uint64_t offset, std::uint32_t length) {
        return driver.add(std::array{buffer(offset, length)});
    }
    void kick() {
        driver.publish();
        transport.kicks[0].signal();
    }
    /// The driver starts over, as it does after a reset.
    void renew_driver() {
        std::destroy_at(&driver);
        std::construct_at(&driver, memory, kRings, std::uint16_t{64});
    }
    /// Waits for the next used chain.
    std::optional<DriverQueue::Used> await() {
        for (;;) {
            if (const auto used = driver.take_used()) return used;
            if (!test::wait_for(transport.interrupts[0])) return std::nullopt;
        }
    }
    [[nodiscard]] std::vector<std::byte> bytes(std::uint64_t offset, std::uint64_t length) const {
        const auto span = memory.readable(kData + offset, length).value();
        return {span.begin(), span.end()};
    }
    /// Whether the range was written: 32 zeros in a row do not happen to random bytes.
    [[nodiscard]] bool filled(std::uint64_t offset, std::uint64_t length) const {
        const auto content = bytes(offset, length);
        return std::ranges::search_n(content, 32, std::byte{0}).empty();
    }
    [[nodiscard]] bool untouched(std::uint64_t offset, std::uint64_t length) const {
        return std::ranges::all_of(bytes(offset, length),
                                   [](std::byte byte) { return byte == std::byte{0}; });
    }

    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    test::FakeTransport transport{1};
    DriverQueue driver{memory, kRings, 64};
};

/// The whole device.
struct Rng : Guest {
    explicit Rng(const Config& config = {}, const std::optional<State>& state = std::nullopt)
        : device(EntropyDevice::create(config, *engine, state).value()) {}

    Result<> try_activate(const QueueConfig& config, std::span<const QueuePosition> positions = {}) {
        return device->activate({.features = device->features() & ~feature::kEventIdx,
                                 .memory = memory,
                                 .hooks = transport,
                                 .queues = std::span(&config, 1),
                                 .kicks = transport.kicks,
                                 .positions = positions});
    }
    void activate(std::span<const QueuePosition> positions = {}) {
        REQUIRE(try_activate(driver.config(), positions));
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    std::unique_ptr<EntropyDevice> device;
};

std::atomic<io::Time> g_now;
std::atomic<bool> g_refuse;

ssize_t few_bytes(void* buffer, std::size_t length, unsigned flags) {
    static bool interrupted = false;
    if (g_refuse) {
        errno = ENOSYS;
        return -1;
    }
    if ((interrupted = !interrupted)) {
        errno = EINTR;
        return -1;
    }
    return ::getrandom(buffer, std::min<std::size_t>(length, 100), flags);
}

/// A request queue without its device, on a clock that stands until the test moves it.
struct BareQueue : Guest {
    explicit BareQueue(const io::RateLimits& limits)
        : backend{
              .limiter = {limits, start_clock()}, .now = [] { return g_now.load(); }, .random = few_bytes} {
        queue = std::make_unique<RequestQueue>(QueueSetup{.index = 0,
                                                          .engine = *engine,
                                                          .memory = memory,
                                                          .hooks = transport,
                                                          .backend = backend,
                                                          .metrics = metrics},
                                               Queue::create(memory, driver.config(), 0).value());
        engine->run_sync([&] { queue->start(transport.kicks[0].fd(), false); });
    }
    ~BareQueue() {
        quiesce([&](std::latch& idle) { queue->stop(idle); });
    }

    static io::Time start_clock() {
        g_refuse = false;
        g_now = io::Time(1h);
        return g_now;
    }
    template <typename Action>
    void quiesce(Action action) {
        std::latch idle(1);
        engine->run_sync([&] { action(idle); });
        idle.wait();
        engine->run_sync([&] { engine->unschedule(*queue); });
    }
    /// Moves the clock and lets the queue look at it.
    void pass(std::chrono::nanoseconds time) {
        g_now = g_now.load() + time;
        serve();
    }
    void serve() {
        kick();
        settle();
    }
    /// The kick has been seen and served after this: jobs and doorbells come by the same ring, in order.
    void settle() {
        for (int round = 0; round < 3; ++round)
            engine->run_sync([] {});
    }
    /// The lengths of all answers there are.
    std::vector<std::uint32_t> answers() {
        std::vector<std::uint32_t> lengths;
        while (const auto used = driver.take_used())
            lengths.push_back(used->written);
        return lengths;
    }
    [[nodiscard]] std::uint16_t in_flight() {
        return engine->run_sync([&] {
            const QueuePosition position = queue->position();
            return static_cast<std::uint16_t>(position.next_avail - position.next_used);
        });
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    QueueMetrics metrics;
    Backend backend;
    std::unique_ptr<RequestQueue> queue;
};

using Lengths = std::vector<std::uint32_t>;

}  // namespace

TEST_CASE("random bytes arrive, others each time, and nothing beside the buffer is touched") {
    Rng rng;
    rng.activate();
    std::vector<std::vector<std::byte>> seen;
    for (int round = 0; round < 20; ++round) {
        static_cast<void>(rng.buffer(0, 4096));
        REQUIRE(rng.driver.add(std::array{Buffer{kData + 64, 64, true}}));
        rng.kick();
        const auto used = rng.await();
        REQUIRE(used);
        CHECK(used->written == 64);
        CHECK(rng.filled(64, 64));
        CHECK(rng.untouched(0, 64));
        CHECK(rng.untouched(128, 4096 - 128));
        const auto now = rng.bytes(64, 64);
        CHECK(std::ranges::find(seen, now) == seen.end());
        seen.push_back(now);
    }
    CHECK(rng.device->metrics().requests == 20);
    CHECK(rng.device->metrics().bytes == 20 * 64);
    CHECK(rng.device->metrics().throttled == 0);
}

TEST_CASE("a full queue of chains of several buffers is served, and again") {
    Rng rng;
    rng.activate();
    for (int round = 0; round < 5; ++round) {
        for (std::uint64_t i = 0; i < 32; ++i)
            REQUIRE(
                rng.driver.add(std::array{rng.buffer(8192 * i, 33), rng.buffer(8192 * i + 4096 - 10, 1000)}));
        rng.kick();
        for (int i = 0; i < 32; ++i) {
            const auto used = rng.await();
            REQUIRE(used);
            CHECK(used->written == 1033);
        }
        for (std::uint64_t i = 0; i < 32; ++i) {
            CHECK(rng.filled(8192 * i, 33));
            CHECK(rng.untouched(8192 * i + 33, 100));
            CHECK(rng.filled(8192 * i + 4096 - 10, 1000));
        }
    }
}

TEST_CASE("an indirect table of any length is filled") {
    Rng rng;
    rng.activate();
    std::vector<Buffer> buffers;
    for (std::uint64_t i = 0; i < kMaxQueueSize; ++i)
        buffers.push_back(rng.buffer(64 * i, 40));
    REQUIRE(rng.driver.add_indirect(buffers, kTable));
    rng.kick();
    const auto used = rng.await();
    REQUIRE(used);
    CHECK(used->written == 40 * kMaxQueueSize);
    for (std::uint64_t i = 0; i < kMaxQueueSize; ++i) {
        CHECK(rng.filled(64 * i, 40));
        CHECK(rng.untouched(64 * i + 40, 24));
    }
}

TEST_CASE("a huge chain gets as much as one answer gives, and its length says so") {
    Rng rng;
    rng.activate();
    REQUIRE(rng.driver.add(std::array{rng.buffer(0, 1000), rng.buffer(1 * MiB, 8 * MiB)}));
    REQUIRE(rng.ask(12 * MiB, 100));
    rng.kick();
    auto used = rng.await();
    REQUIRE(used);
    CHECK(used->written == kMaxAnswer);
    CHECK(rng.filled(0, 1000));
    CHECK(rng.filled(1 * MiB, kMaxAnswer - 1000));
    CHECK(rng.untouched(1 * MiB + kMaxAnswer - 1000, 1 * MiB));
    used = rng.await();  // the next batch
    REQUIRE(used);
    CHECK(used->written == 100);
}

TEST_CASE("buffers to read are left alone beside buffers to write") {
    Rng rng;
    rng.activate();
    Buffer readable = rng.buffer(0, 64);
    readable.writable = false;
    REQUIRE(rng.driver.add(std::array{readable, rng.buffer(4096, 64)}));
    rng.kick();
    const auto used = rng.await();
    REQUIRE(used);
    CHECK(used->written == 64);
    CHECK(rng.untouched(0, 64));
    CHECK(rng.filled(4096, 64));
}

TEST_CASE("a chain with nothing to write stops the device until reset, with one word to the driver") {
    Rng rng;
    rng.activate();
    REQUIRE(rng.ask(0, 64));
    REQUIRE(rng.driver.add(std::array{Buffer{kData, 64, false}}));
    REQUIRE(rng.ask(4096, 64));
    rng.kick();
    REQUIRE(test::wait_for(rng.transport.reset_wanted));
    CHECK(rng.transport.reset_reason().find("device-writable") != std::string::npos);
    REQUIRE(rng.await());  // the one before it
    rng.kick();
    rng.device->pause();
    rng.device->resume();
    rng.engine->run_sync([] {});
    CHECK(rng.driver.used_index() == 1);
    CHECK(rng.untouched(4096, 64));
    CHECK_FALSE(rng.transport.reset_wanted.pending());

    rng.device->reset();
    rng.renew_driver();
    rng.activate();
    REQUIRE(rng.ask(0, 64));
    rng.kick();
    REQUIRE(rng.await());
}

TEST_CASE("a ring that breaks the rules stops the device") {
    Rng rng;
    rng.activate();
    rng.driver.offer(64);
    rng.kick();
    REQUIRE(test::wait_for(rng.transport.reset_wanted));
    CHECK(rng.transport.reset_reason().find("beyond the table") != std::string::npos);
}

TEST_CASE("what was given is marked dirty, and no more") {
    Rng rng;
    rng.activate();
    rng.device->pause();
    REQUIRE(rng.driver.add(std::array{rng.buffer(100, 100), rng.buffer(2 * 4096 - 6, 412),
                                      rng.buffer(5 * 4096, 4096), rng.buffer(32 * 4096, 1 * MiB)}));
    rng.memory.start_dirty_tracking();
    rng.device->resume();
    rng.kick();
    REQUIRE(rng.await());
    DirtyBitmap& dirty = *rng.memory.dirty_bitmap(0);
    // 60928 bytes are left for the last buffer: 14.875 pages.
    CHECK(dirty.take(2 * MiB / kPageSize / 64) == (0b100111 | (std::uint64_t{0x7fff} << 32)));
    CHECK(dirty.take(2 * MiB / kPageSize / 64 + 1) == 0);
}

TEST_CASE("a host that gives few bytes at a time is asked again, one that gives none is told about") {
    BareQueue bare({});
    REQUIRE(bare.ask(0, 5000));
    bare.serve();
    CHECK(bare.answers() == Lengths{5000});
    CHECK(bare.filled(0, 5000));

    g_refuse = true;
    REQUIRE(bare.ask(0, 64));
    bare.kick();
    REQUIRE(test::wait_for(bare.transport.reset_wanted));
    CHECK(bare.transport.reset_reason().find("getrandom") != std::string::npos);
    bare.settle();
    CHECK(bare.answers().empty());
}

TEST_CASE("no more goes than the burst and what the time brought, in answers worth having") {
    BareQueue bare({.bytes = {.tokens = 1000, .burst = 300}, .operations = {}});
    for (std::uint64_t i = 0; i < 6; ++i)
        REQUIRE(bare.ask(4096 * i, 200));
    bare.serve();
    CHECK(bare.answers() == Lengths{200, 100});
    CHECK(bare.filled(4096, 100));
    CHECK(bare.untouched(4096 + 100, 100));
    CHECK(bare.in_flight() == 0);  // the others wait in the ring
    CHECK(bare.metrics.throttled.get() == 1);

    bare.pass(63ms);
    CHECK(bare.answers().empty());
    bare.pass(1ms);
    CHECK(bare.answers() == Lengths{64});
    bare.pass(1h);
    CHECK(bare.answers() == Lengths{200, 100});
    CHECK(bare.metrics.bytes.get() == 664);
    CHECK(bare.metrics.requests.get() == 5);
    bare.pass(150ms);
    CHECK(bare.answers() == Lengths{150});
    CHECK(bare.untouched(5 * 4096 + 150, 50));
}

TEST_CASE("a burst smaller than an answer worth having is one") {
    BareQueue bare({.bytes = {.tokens = 1, .burst = 1}, .operations = {}});
    REQUIRE(bare.ask(0, 64));
    REQUIRE(bare.ask(4096, 64));
    bare.serve();
    CHECK(bare.answers() == Lengths{1});
    bare.pass(1s);
    CHECK(bare.answers() == Lengths{1});
}

TEST_CASE("operations are limited as bytes are") {
    BareQueue bare({.bytes = {}, .operations = {.tokens = 10, .burst = 2}});
    for (std::uint64_t i = 0; i < 4; ++i)
        REQUIRE(bare.ask(4096 * i, 1000));
    bare.serve();
    CHECK(bare.answers() == Lengths{1000, 1000});
    bare.pass(100ms);
    CHECK(bare.answers() == Lengths{1000});
}

TEST_CASE("a queue out of tokens sleeps: no wake-ups, no doorbells") {
    BareQueue bare({.bytes = {.tokens = 1, .burst = 64}, .operations = {}});
    for (std::uint64_t i = 0; i < 3; ++i)
        REQUIRE(bare.ask(4096 * i, 64));
    bare.serve();
    CHECK(bare.answers() == Lengths{64});
    CHECK(bare.driver.used_flags() == 1);  // VIRTQ_USED_F_NO_NOTIFY
    const std::uint64_t before = bare.engine->counters().wakeups;
    for (int i = 0; i < 10; ++i)
        bare.settle();
    // One round for each of the jobs above, or fewer: nobody else woke it.
    CHECK(bare.engine->counters().wakeups - before <= 30 + 1);
    CHECK(bare.metrics.throttled.get() == 1);
}

TEST_CASE("the timeout alone serves what waits") {
    // On the real clock, fast enough to be over soon.
    Rng rng({.limits = {.bytes = {.tokens = 64'000, .burst = 64}, .operations = {}}});
    rng.activate();
    for (std::uint64_t i = 0; i < 10; ++i)
        REQUIRE(rng.ask(4096 * i, 64));
    rng.kick();
    for (int i = 0; i < 10; ++i) {
        const auto used = rng.await();
        REQUIRE(used);
        CHECK(used->written == 64);
    }
}

TEST_CASE("a raised limit ends the wait for the old one") {
    Rng rng({.limits = {.bytes = {.tokens = 1, .burst = 64}, .operations = {}}});
    rng.activate();
    for (std::uint64_t i = 0; i < 5; ++i)
        REQUIRE(rng.ask(4096 * i, 64));
    rng.kick();
    REQUIRE(rng.await());
    rng.device->set_limits({.bytes = {.tokens = 6400, .burst = 64}, .operations = {}});
    REQUIRE(rng.await());
    rng.device->set_limits({.bytes = {.tokens = 1, .burst = 64}, .operations = {}});
    rng.device->set_limits({});
    for (int i = 0; i < 3; ++i)
        REQUIRE(rng.await());
    rng.device->reset();
    rng.device->set_limits({});  // inactive: fine
}

TEST_CASE("a paused queue has nothing in flight, not even a timeout") {
    BareQueue bare({.bytes = {.tokens = 1, .burst = 64}, .operations = {}});
    REQUIRE(bare.ask(0, 64));
    REQUIRE(bare.ask(4096, 64));
    bare.serve();
    CHECK(bare.answers() == Lengths{64});
    bare.quiesce([&](std::latch& idle) { bare.queue->drain(idle); });
    CHECK(bare.in_flight() == 0);
    bare.pass(1h);
    CHECK(bare.answers().empty());
    bare.engine->run_sync([&] { bare.queue->resume(); });
    bare.settle();
    CHECK(bare.answers() == Lengths{64});
}

TEST_CASE("a paused device has answered everything it took, and takes nothing more") {
    Rng rng;
    rng.activate();
    for (std::uint64_t i = 0; i < 16; ++i)
        REQUIRE(rng.ask(4096 * i, 64));
    rng.kick();
    rng.device->pause();
    const QueuePosition position = rng.device->queue_positions().at(0);
    CHECK(position.next_avail == position.next_used);
    std::uint16_t answered = 0;
    while (rng.driver.take_used())
        ++answered;
    CHECK(answered == position.next_used);
    if (answered > 0) CHECK(rng.transport.interrupts[0].take() > 0);  // raised before pause() returned

    REQUIRE(rng.ask(64 * KiB, 64));
    rng.kick();
    rng.engine->run_sync([] {});
    CHECK_FALSE(rng.driver.take_used());
    rng.device->pause();  // twice is once

    rng.device->resume();
    for (; answered < 17; ++answered)
        REQUIRE(rng.await());
    CHECK(rng.filled(64 * KiB, 64));
}

TEST_CASE("a guest gains no burst by a reset") {
    Rng rng({.limits = {.bytes = {.tokens = 1, .burst = 1000}, .operations = {}}});
    std::uint64_t given = 0;
    for (int round = 0; round < 5; ++round) {
        rng.renew_driver();
        rng.activate();
        REQUIRE(rng.ask(0, 600));
        rng.kick();
        if (round < 2) {
            const auto used = rng.await();
            REQUIRE(used);
            given += used->written;
        }
        rng.device->reset();
        CHECK(rng.device->queue_positions().empty());
    }
    CHECK(given >= 1000);
    CHECK(rng.device->metrics().requests == 2);
    rng.device->reset();  // inactive: fine
}

TEST_CASE("an entropy device made from a saved state goes on where it stood, with bytes of its own") {
    Rng rng;
    rng.activate();
    REQUIRE(rng.ask(0, 64));
    rng.kick();
    REQUIRE(rng.await());
    rng.device->pause();
    const State saved = rng.device->state();
    const auto positions = rng.device->queue_positions();
    CHECK(positions == std::vector<QueuePosition>{{.next_avail = 1, .next_used = 1}});

    rng.device.reset();
    rng.device = EntropyDevice::create({}, *rng.engine, saved).value();
    CHECK(rng.device->state() == saved);
    CHECK(rng.device->features() == saved.features);
    REQUIRE(rng.ask(4096, 64));
    rng.driver.publish();
    rng.device->pause();
    rng.activate(positions);
    rng.engine->run_sync([] {});
    CHECK(rng.device->queue_positions() == positions);  // still paused
    rng.device->resume();
    REQUIRE(rng.await());
    CHECK(rng.filled(4096, 64));
    CHECK(rng.bytes(0, 64) != rng.bytes(4096, 64));
}

TEST_CASE("a saved state or a config that no entropy device has is refused") {
    auto engine = io::Engine::create().value();
    const State good = EntropyDevice::create({}, *engine).value()->state();
    CHECK(EntropyDevice::create({}, *engine, good));
    CHECK_FALSE(EntropyDevice::create({}, *engine, State{.features = good.features | 1}));
    CHECK_FALSE(EntropyDevice::create({}, *engine, State{.features = 0}));
    for (const std::uint16_t size : std::array<std::uint16_t, 4>{0, 1, 100, 2048}) {
        const auto device = EntropyDevice::create({.queue_size = size}, *engine);
        REQUIRE_FALSE(device);
        CHECK(device.error().fault() == Fault::kInput);
    }
}

TEST_CASE("an entropy queue that cannot be refuses the activation, one not enabled does not") {
    Rng rng;
    QueueConfig config = rng.driver.config();
    config.size = 128;
    CHECK_FALSE(rng.try_activate(config));
    config = rng.driver.config();
    config.device = GuestAddress{UINT64_MAX - 3};
    CHECK_FALSE(rng.try_activate(config));
    config = {};
    CHECK(rng.try_activate(config));
    rng.device->pause();
    CHECK(rng.device->queue_positions().size() == 1);
    rng.device->resume();
    CHECK_FALSE(rng.try_activate(config));  // active already
    rng.device->reset();
    rng.activate();
}

TEST_CASE("an entropy device has no configuration: zeros") {
    Rng rng;
    CHECK(rng.device->type() == DeviceType::kEntropy);
    std::array<std::byte, 8> data{};
    data.fill(std::byte{1});
    rng.device->write_config(0, data);
    rng.device->read_config(UINT32_MAX, data);
    CHECK(std::ranges::all_of(data, [](std::byte byte) { return byte == std::byte{0}; }));
}
