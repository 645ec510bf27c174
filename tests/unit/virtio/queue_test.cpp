#include "virtio/queue.h"

#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::virtio;
using test::Buffer;
using test::DriverQueue;

namespace {

constexpr std::uint64_t kBoth = feature::kIndirectDesc | feature::kEventIdx;
constexpr GuestAddress kRings{0x10000};
constexpr GuestAddress kData{0x80000};
constexpr GuestAddress kTable{0x60000};

struct Fixture {
    explicit Fixture(std::uint16_t size = 8, std::uint64_t features = feature::kIndirectDesc,
                     std::size_t capacity = 16)
        : driver(memory, kRings, size, (features & feature::kEventIdx) != 0),
          queue(Queue::create(memory, driver.config(), features).value()),
          chain(capacity) {}

    /// Offers descriptor 0, and tells how the device refuses it.
    QueueFault refusal() {
        driver.offer(0);
        driver.publish();
        return fault();
    }
    QueueFault fault() {
        const auto popped = queue.pop(chain);
        REQUIRE_FALSE(popped.has_value());
        // A broken queue stays broken, whatever the driver does next.
        const auto again = queue.pop(chain);
        REQUIRE_FALSE(again.has_value());
        CHECK(again.error() == popped.error());
        CHECK_FALSE(fault_text(popped.error()).empty());
        CHECK(queue.in_flight() == 0);
        return popped.error();
    }
    bool pop() {
        const auto popped = queue.pop(chain);
        REQUIRE(popped.has_value());
        return *popped;
    }

    GuestMemory memory = GuestMemory::create({.size = 2 * MiB}).value();
    DriverQueue driver;
    Queue queue;
    Chain chain;
};

}  // namespace

TEST_CASE("a chain comes out as checked and translated buffers, readable ones first") {
    Fixture f;
    const std::array buffers = {Buffer{kData, 16, false}, Buffer{kData + 0x1001, 3, false},
                                Buffer{kData + 0x2000, 512, true}, Buffer{kData + 0x3000, 1, true}};
    const auto head = f.driver.add(buffers);
    REQUIRE(head);
    CHECK_FALSE(f.pop());  // not published yet
    f.driver.publish();
    REQUIRE(f.pop());
    CHECK(f.chain.head() == *head);
    REQUIRE(f.chain.readable().size() == 2);
    REQUIRE(f.chain.writable().size() == 2);
    CHECK(f.chain.readable()[1].address == kData + 0x1001);
    CHECK(f.chain.readable()[1].length == 3);
    CHECK(f.chain.readable()[1].host == f.memory.readable(kData + 0x1001, 3)->data());
    CHECK(f.chain.readable_bytes() == 19);
    CHECK(f.chain.writable_bytes() == 513);
    CHECK(f.queue.in_flight() == 1);
    CHECK_FALSE(f.pop());
}

TEST_CASE(
    "an indirect table stands for its chain, also behind plain descriptors and with the write flag set") {
    Fixture f;
    const std::array buffers = {Buffer{kData, 16, false}, Buffer{kData + 0x2000, 512, true}};
    REQUIRE(f.driver.add_indirect(buffers, kTable + 1));  // tables need no alignment
    f.driver.publish();
    REQUIRE(f.pop());
    CHECK(f.chain.readable_bytes() == 16);
    CHECK(f.chain.writable_bytes() == 512);

    f.driver.write_descriptor(3, kData, 5, test::kNext, 4);
    f.driver.write_descriptor(4, kTable, 16, test::kIndirect | test::kWrite);
    f.driver.write_descriptor(kTable, kData + 0x1000, 7, 0, 0);
    f.driver.offer(3);
    f.driver.publish();
    REQUIRE(f.pop());
    CHECK(f.chain.readable_bytes() == 12);
    CHECK(f.chain.writable().empty());
}

TEST_CASE("an indirect table may hold more buffers than the queue has descriptors") {
    Fixture f(8, feature::kIndirectDesc, 128);
    std::vector<Buffer> buffers;
    for (std::uint64_t i = 0; i < 128; ++i)
        buffers.push_back({kData + 512 * i, 512, true});
    REQUIRE(f.driver.add_indirect(buffers, kTable));
    f.driver.publish();
    REQUIRE(f.pop());
    CHECK(f.chain.writable().size() == 128);
}

TEST_CASE("a loop is refused") {
    Fixture f(8, 0, 64);
    f.driver.write_descriptor(0, kData, 1, test::kNext, 1);
    f.driver.write_descriptor(1, kData, 1, test::kNext, 0);
    CHECK(f.refusal() == QueueFault::kLoop);
}

TEST_CASE("a loop in an indirect table is refused") {
    Fixture f(8, feature::kIndirectDesc, 64);
    f.driver.write_descriptor(kTable, kData, 1, test::kNext, 0);
    f.driver.write_descriptor(0, kTable, 16, test::kIndirect);
    CHECK(f.refusal() == QueueFault::kLoop);
}

TEST_CASE("a chain of exactly the queue's size is no loop") {
    Fixture f(8, 0, 64);
    const std::vector<Buffer> buffers(8, {kData, 1, false});
    REQUIRE(f.driver.add(buffers));
    f.driver.publish();
    REQUIRE(f.pop());
    CHECK(f.chain.readable().size() == 8);
}

TEST_CASE("an empty buffer is refused") {
    Fixture f;
    f.driver.write_descriptor(0, kData, 0, 0);
    CHECK(f.refusal() == QueueFault::kZeroLength);
}

TEST_CASE("a buffer that leaves guest memory is refused, whatever the arithmetic") {
    const std::uint64_t end = 2 * MiB;
    for (const auto& [address, length] :
         std::vector<std::pair<std::uint64_t, std::uint32_t>>{{end, 1},
                                                              {end - 1, 2},
                                                              {UINT64_MAX, 1},
                                                              {UINT64_MAX - 4, 8},
                                                              {0, UINT32_MAX},
                                                              {layout::kRamHole, 1}}) {
        Fixture f;
        f.driver.write_descriptor(0, GuestAddress{address}, length, 0);
        CHECK(f.refusal() == QueueFault::kOutsideMemory);
    }
    Fixture f;
    f.driver.write_descriptor(0, GuestAddress{end - 1}, 1, 0);
    f.driver.offer(0);
    f.driver.publish();
    CHECK(f.pop());
}

TEST_CASE("a buffer across the hole in guest memory is refused") {
    auto memory = GuestMemory::create({.size = 3 * GiB + 2 * MiB}).value();
    DriverQueue driver(memory, kRings, 8);
    auto queue = Queue::create(memory, driver.config(), 0).value();
    Chain chain(8);
    driver.write_descriptor(0, GuestAddress{layout::kRamHole - 8}, 16, test::kWrite);
    driver.offer(0);
    driver.publish();
    const auto popped = queue.pop(chain);
    REQUIRE_FALSE(popped.has_value());
    CHECK(popped.error() == QueueFault::kOutsideMemory);
}

TEST_CASE("a readable buffer behind a writable one is refused") {
    Fixture f;
    f.driver.write_descriptor(0, kData, 1, test::kNext | test::kWrite, 1);
    f.driver.write_descriptor(1, kData, 1, 0);
    CHECK(f.refusal() == QueueFault::kReadableAfterWritable);
}

TEST_CASE("an indirect descriptor that was not negotiated is refused") {
    Fixture f(8, 0);
    f.driver.write_descriptor(0, kTable, 16, test::kIndirect);
    CHECK(f.refusal() == QueueFault::kIndirectNotNegotiated);
}

TEST_CASE("an indirect table in an indirect table is refused") {
    Fixture f;
    f.driver.write_descriptor(0, kTable, 16, test::kIndirect);
    f.driver.write_descriptor(kTable, kTable + 0x100, 16, test::kIndirect, 0);
    CHECK(f.refusal() == QueueFault::kIndirectNested);
}

TEST_CASE("an indirect descriptor with a next is refused") {
    Fixture f;
    f.driver.write_descriptor(0, kTable, 16, test::kIndirect | test::kNext, 1);
    CHECK(f.refusal() == QueueFault::kIndirectWithNext);
}

TEST_CASE("an indirect table of a size that no table has is refused") {
    for (const std::uint32_t length : {0U, 15U, 17U, 16U * (kMaxQueueSize + 1), UINT32_MAX}) {
        Fixture f;
        f.driver.write_descriptor(0, kTable, length, test::kIndirect);
        CHECK(f.refusal() == QueueFault::kIndirectSize);
    }
}

TEST_CASE("an indirect table outside guest memory is refused") {
    for (const std::uint64_t address : {2 * MiB - 16, UINT64_MAX - 7}) {
        Fixture f;
        f.driver.write_descriptor(0, GuestAddress{address}, 32, test::kIndirect);
        CHECK(f.refusal() == QueueFault::kIndirectOutsideMemory);
    }
}

TEST_CASE("a next beyond its table is refused") {
    Fixture f;
    f.driver.write_descriptor(0, kData, 1, test::kNext, 8);
    CHECK(f.refusal() == QueueFault::kNextOutOfRange);

    Fixture g;
    g.driver.write_descriptor(0, kTable, 32, test::kIndirect);
    g.driver.write_descriptor(kTable, kData, 1, test::kNext, 2);
    CHECK(g.refusal() == QueueFault::kNextOutOfRange);
}

TEST_CASE("a head beyond the table is refused") {
    Fixture f;
    f.driver.offer(8);
    f.driver.publish();
    CHECK(f.fault() == QueueFault::kHeadOutOfRange);
}

TEST_CASE("a head that is in flight is refused, and welcome again once returned") {
    Fixture f;
    f.driver.write_descriptor(0, kData, 1, test::kWrite);
    f.driver.offer(0);
    f.driver.publish();
    REQUIRE(f.pop());
    f.queue.push_used(0, 1);
    f.driver.offer(0);
    f.driver.publish();
    REQUIRE(f.pop());
    f.driver.offer(0);
    f.driver.publish();
    const auto popped = f.queue.pop(f.chain);
    REQUIRE_FALSE(popped.has_value());
    CHECK(popped.error() == QueueFault::kHeadInFlight);
    CHECK(f.queue.in_flight() == 1);
}

TEST_CASE("an available index more than the queue's size ahead is refused") {
    Fixture f;
    f.driver.set_available_index(9);
    CHECK(f.fault() == QueueFault::kAvailableTooFar);
    Fixture g;
    g.driver.set_available_index(0xffff);  // one back is 65535 ahead
    CHECK(g.fault() == QueueFault::kAvailableTooFar);
}

TEST_CASE("a chain of more buffers than the device takes is refused") {
    Fixture f(8, 0, 2);
    REQUIRE(f.driver.add(std::vector<Buffer>(3, {kData, 1, true})));
    f.driver.publish();
    CHECK(f.fault() == QueueFault::kTooManySegments);
}

TEST_CASE("buffers that overlap until they add up to 4 GiB are refused") {
    Fixture f(8, feature::kIndirectDesc, 1024);
    auto memory = GuestMemory::create({.size = 1 * GiB}).value();
    DriverQueue driver(memory, kRings, 8);
    auto queue = Queue::create(memory, driver.config(), 0).value();
    Chain chain(8);
    REQUIRE(driver.add(std::vector<Buffer>(4, {GuestAddress{0}, static_cast<std::uint32_t>(1 * GiB), true})));
    driver.publish();
    const auto popped = queue.pop(chain);
    REQUIRE_FALSE(popped.has_value());
    CHECK(popped.error() == QueueFault::kTooManyBytes);
}

TEST_CASE("a header is taken whole however it is cut, the status is the last writable byte") {
    Fixture f;
    auto bytes = f.memory.writable(kData, 16).value();
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<std::byte>(i);
    const std::array buffers = {Buffer{kData, 1, false}, Buffer{kData + 1, 6, false},
                                Buffer{kData + 7, 9, false}, Buffer{kData + 0x1000, 4, true},
                                Buffer{kData + 0x2000, 1, true}};
    REQUIRE(f.driver.add(buffers));
    f.driver.publish();
    REQUIRE(f.pop());

    std::array<std::byte, 10> header{};
    REQUIRE(f.chain.take_readable(header));
    for (std::size_t i = 0; i < header.size(); ++i)
        CHECK(header[i] == static_cast<std::byte>(i));
    REQUIRE(f.chain.readable().size() == 1);
    CHECK(f.chain.readable()[0].address == kData + 10);
    CHECK(f.chain.readable()[0].length == 6);
    std::array<std::byte, 7> too_much{};
    CHECK_FALSE(f.chain.take_readable(too_much));
    CHECK(f.chain.readable_bytes() == 6);

    auto last = f.chain.take_last_writable();
    REQUIRE(last);
    CHECK(last->address == kData + 0x2000);
    CHECK(f.chain.writable().size() == 1);
    last = f.chain.take_last_writable();
    REQUIRE(last);
    CHECK(last->address == kData + 0x1003);
    CHECK(f.chain.writable_bytes() == 3);
    for (int i = 0; i < 3; ++i)
        CHECK(f.chain.take_last_writable());
    CHECK_FALSE(f.chain.take_last_writable());
}

TEST_CASE("used chains appear together, when they are published") {
    Fixture f;
    for (int i = 0; i < 3; ++i)
        REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    f.driver.publish();
    std::vector<std::uint16_t> heads;
    while (f.pop())
        heads.push_back(f.chain.head());
    REQUIRE(heads.size() == 3);
    f.queue.push_used(heads[2], 5);
    f.queue.push_used(heads[0], 6);
    CHECK_FALSE(f.driver.take_used());
    f.queue.publish();
    auto used = f.driver.take_used();
    REQUIRE(used);
    CHECK(used->head == heads[2]);
    CHECK(used->written == 5);
    used = f.driver.take_used();
    REQUIRE(used);
    CHECK(used->head == heads[0]);
    CHECK_FALSE(f.driver.take_used());
    CHECK(f.queue.in_flight() == 1);
}

TEST_CASE("indices wrap at 65536 and the rings at the queue's size") {
    auto memory = GuestMemory::create({.size = 2 * MiB}).value();
    DriverQueue driver(memory, kRings, 4, true);
    auto queue = Queue::create(memory, driver.config(), feature::kEventIdx).value();
    Chain chain(4);
    for (int round = 0; round < 70000; ++round) {
        const bool kick = driver.add(std::array{Buffer{kData, 8, true}}) && driver.publish();
        if (!kick || driver.want_interrupt()) FAIL("round " << round);
        if (!queue.pop(chain).value()) FAIL("round " << round);
        queue.push_used(chain.head(), 1);
        queue.publish();
        if (!queue.needs_interrupt() || queue.enable_notifications()) FAIL("round " << round);
        if (!driver.take_used()) FAIL("round " << round);
    }
    CHECK(queue.position().next_avail == 70000 % 65536);
}

TEST_CASE("without EVENT_IDX the flags say who wants to hear") {
    Fixture f(8, 0);
    f.queue.disable_notifications();
    CHECK(f.driver.used_flags() == 1);
    REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    CHECK_FALSE(f.driver.publish());
    CHECK(f.queue.enable_notifications());  // the chain came in while they were off
    CHECK(f.driver.used_flags() == 0);

    f.driver.set_no_interrupt(true);
    REQUIRE(f.pop());
    f.queue.push_used(f.chain.head(), 0);
    f.queue.publish();
    CHECK_FALSE(f.queue.needs_interrupt());
    CHECK_FALSE(f.queue.enable_notifications());

    f.driver.set_no_interrupt(false);
    CHECK_FALSE(f.queue.needs_interrupt());  // nothing new
    REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    CHECK(f.driver.publish());
    REQUIRE(f.pop());
    f.queue.push_used(f.chain.head(), 0);
    f.queue.publish();
    CHECK(f.queue.needs_interrupt());
    CHECK_FALSE(f.queue.needs_interrupt());
}

TEST_CASE("with EVENT_IDX an interrupt is raised when the used index passes the driver's event") {
    Fixture f(8, kBoth);
    const auto serve = [&](int count) {
        for (int i = 0; i < count; ++i)
            REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
        f.driver.publish();
        while (f.pop())
            f.queue.push_used(f.chain.head(), 0);
        f.queue.publish();
        while (f.driver.take_used()) {
        }
        return f.queue.needs_interrupt();
    };
    f.driver.set_used_event(0);
    CHECK(serve(1));  // 0 -> 1
    f.driver.set_used_event(3);
    CHECK_FALSE(serve(2));  // -> 3: the fourth chain is awaited
    CHECK(serve(1));        // -> 4
    CHECK_FALSE(serve(1));  // -> 5: the event is behind
    f.driver.set_used_event(6);
    CHECK(serve(4));  // -> 9: passed within a batch
}

TEST_CASE("with EVENT_IDX the driver kicks only for what the device awaits") {
    Fixture f(8, kBoth);
    CHECK_FALSE(f.queue.enable_notifications());
    CHECK(f.driver.avail_event() == 0);
    REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    CHECK(f.driver.publish());
    REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    CHECK_FALSE(f.driver.publish());  // the device is at work, it has not asked again
    REQUIRE(f.pop());
    CHECK(f.queue.enable_notifications());
    CHECK(f.driver.avail_event() == 1);
    REQUIRE(f.pop());
    CHECK_FALSE(f.queue.enable_notifications());
    CHECK(f.driver.avail_event() == 2);
    REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    CHECK(f.driver.publish());
}

TEST_CASE("a queue made from a saved position goes on where the old one stood") {
    Fixture f(8, kBoth);
    for (int i = 0; i < 2; ++i)
        REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    f.driver.publish();
    REQUIRE(f.pop());
    f.queue.push_used(f.chain.head(), 0);
    f.queue.publish();
    REQUIRE(f.driver.take_used());

    auto restored = Queue::create(f.memory, f.driver.config(), kBoth, f.queue.position()).value();
    CHECK(restored.position().next_avail == 1);
    CHECK(restored.position().next_used == 1);
    f.driver.set_used_event(100);
    REQUIRE(restored.pop(f.chain).value());
    restored.push_used(f.chain.head(), 7);
    restored.publish();
    CHECK(restored.needs_interrupt());  // nobody knows what the driver was told last
    const auto used = f.driver.take_used();
    REQUIRE(used);
    CHECK(used->written == 7);
    CHECK_FALSE(restored.pop(f.chain).value());
}

TEST_CASE("rings that cannot be are refused when the queue is made") {
    auto memory = GuestMemory::create({.size = 2 * MiB}).value();
    DriverQueue driver(memory, kRings, 8);
    const QueueConfig good = driver.config();
    CHECK(Queue::create(memory, good, 0));
    const auto refused = [&](auto change) {
        QueueConfig config = good;
        change(config);
        const auto queue = Queue::create(memory, config, 0);
        return !queue.has_value() && !queue.error().text().empty();
    };
    for (const std::uint16_t size :
         {std::uint16_t{0}, std::uint16_t{3}, std::uint16_t{12}, std::uint16_t{2048}, std::uint16_t{32768}})
        CHECK(refused([&](QueueConfig& config) { config.size = size; }));
    CHECK(refused([](QueueConfig& config) { config.descriptors.value += 8; }));
    CHECK(refused([](QueueConfig& config) { config.driver.value += 1; }));
    CHECK(refused([](QueueConfig& config) { config.device.value += 2; }));
    for (GuestAddress QueueConfig::* ring :
         {&QueueConfig::descriptors, &QueueConfig::driver, &QueueConfig::device}) {
        CHECK(refused([&](QueueConfig& config) { config.*ring = GuestAddress{2 * MiB - 16}; }));
        CHECK(refused([&](QueueConfig& config) { config.*ring = GuestAddress{2 * MiB}; }));
        CHECK(refused([&](QueueConfig& config) { config.*ring = GuestAddress{UINT64_MAX & ~15ULL}; }));
    }
}

TEST_CASE("the largest queue works to its last descriptor") {
    Fixture f(kMaxQueueSize, 0, 4);
    for (std::uint16_t i = 0; i < kMaxQueueSize; ++i)
        REQUIRE(f.driver.add(std::array{Buffer{kData, 8, true}}));
    f.driver.publish();
    std::uint32_t count = 0;
    while (f.pop()) {
        ++count;
        f.queue.push_used(f.chain.head(), 1);
    }
    CHECK(count == kMaxQueueSize);
    f.queue.publish();
    CHECK(f.driver.used_index() == kMaxQueueSize);
}

TEST_CASE("what the device writes into its rings is marked dirty, page by page") {
    auto memory = GuestMemory::create({.size = 2 * MiB}).value();
    DriverQueue driver(memory, kRings, 1024);
    // The used ring spans three pages, apart from the others.
    QueueConfig config = driver.config();
    config.device = GuestAddress{0x40000};
    auto queue = Queue::create(memory, config, feature::kEventIdx).value();
    Chain chain(4);
    memory.start_dirty_tracking();
    DirtyBitmap& dirty = *memory.dirty_bitmap(0);
    const auto take = [&] {
        std::vector<std::uint64_t> words;
        for (std::size_t i = 0; i < dirty.words(); ++i)
            words.push_back(dirty.take(i));
        return words;
    };
    const auto only = [](std::uint64_t mask) {
        std::vector<std::uint64_t> words(8, 0);
        words[1] = mask;  // pages from 0x40000
        return words;
    };

    for (int i = 0; i < 1024; ++i)
        REQUIRE(driver.add(std::array{Buffer{kData, 8, true}}));
    driver.publish();
    REQUIRE(queue.pop(chain).value());
    CHECK(take() == only(0));
    queue.push_used(chain.head(), 1);
    queue.publish();
    CHECK(take() == only(0b001));
    CHECK(queue.enable_notifications());
    CHECK(take() == only(0b100));  // avail_event, behind the last element
    for (int i = 1; i < 600; ++i) {
        REQUIRE(queue.pop(chain).value());
        queue.push_used(chain.head(), 1);
    }
    queue.publish();
    CHECK(take() == only(0b011));
    REQUIRE(queue.pop(chain).value());
    queue.push_used(chain.head(), 1);
    queue.publish();
    CHECK(take() == only(0b011));  // an element of the second page, the index on the first
}

TEST_CASE("a batch of used chains that wraps around the ring is dirty on both sides") {
    auto memory = GuestMemory::create({.size = 2 * MiB}).value();
    DriverQueue driver(memory, kRings, 1024);
    // Elements 0 to 254 lie on the first page, 255 to 766 on the second, the rest on the third.
    QueueConfig config = driver.config();
    config.device = GuestAddress{0x40800};
    auto queue = Queue::create(memory, config, 0, {.next_avail = 0, .next_used = 1023}).value();
    Chain chain(4);
    memory.start_dirty_tracking();
    for (int i = 0; i < 600; ++i)
        REQUIRE(driver.add(std::array{Buffer{kData, 8, true}}));
    driver.publish();
    while (queue.pop(chain).value())
        queue.push_used(chain.head(), 1);
    queue.publish();
    CHECK(memory.dirty_bitmap(0)->take(1) == 0b111);
}

TEST_CASE("chains that are not popped after all come again, in the same order") {
    Fixture fixture;
    for (std::uint32_t i = 1; i <= 3; ++i)
        REQUIRE(fixture.driver.add(std::array{Buffer{kData, i, true}}));
    fixture.driver.publish();
    std::vector<std::uint16_t> heads;
    while (*fixture.queue.pop(fixture.chain))
        heads.push_back(fixture.chain.head());
    REQUIRE(heads.size() == 3);
    fixture.queue.push_used(heads[0], 1);
    fixture.queue.unpop(heads[2]);
    fixture.queue.unpop(heads[1]);
    CHECK(fixture.queue.in_flight() == 0);
    CHECK(fixture.queue.position() == QueuePosition{.next_avail = 1, .next_used = 1});
    for (std::uint32_t i = 2; i <= 3; ++i) {
        REQUIRE(*fixture.queue.pop(fixture.chain));
        CHECK(fixture.chain.head() == heads[i - 1]);
        CHECK(fixture.chain.writable_bytes() == i);
    }
    CHECK_FALSE(*fixture.queue.pop(fixture.chain));
}
