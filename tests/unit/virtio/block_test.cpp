#include <doctest/doctest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/virtio/block_fixture.h"
#include "tests/unit/virtio/temp_image.h"
#include "virtio/blk/device.h"
#include "virtio/blk/request_queue.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::blk;
using test::Answer;
using test::BlockFixture;
using test::Buffer;
using test::disk_config;
using test::kData;
using test::TempImage;

namespace {

/// An engine of its own for a test, with a disk of 8 MiB.
struct OneDisk {
    explicit OneDisk(std::uint16_t queues = 1, std::uint16_t queue_size = 64,
                     const std::filesystem::path& directory = {})
        : image(8 * MiB, directory), blk(*engine, disk_config(image.path(), queues, queue_size)) {}

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    TempImage image;
    BlockFixture blk;
};

/// A request queue without its device, whose backend a test may bend.
struct BareQueue {
    BareQueue() {
        backend.buffered.fd = disk.buffered_fd();
        backend.direct.fd = disk.direct_fd();
        backend.has_direct = disk.direct_fd() >= 0;
        backend.alignment = disk.direct_alignment();
        backend.max_segments = 14;
        backend.capacity = 8 * MiB / 512;
        queue = std::make_unique<RequestQueue>(QueueSetup{.index = 0,
                                                          .engine = *engine,
                                                          .memory = memory,
                                                          .hooks = transport,
                                                          .backend = backend,
                                                          .metrics = metrics,
                                                          .flush_negotiated = true},
                                               Queue::create(memory, driver.config(), 0).value());
        engine->run_sync([&] { queue->start(transport.kicks[0].fd(), false); });
    }
    ~BareQueue() {
        std::latch idle(1);
        engine->run_sync([&] { queue->stop(idle); });
        idle.wait();
        engine->run_sync([&] { engine->unschedule(*queue); });
    }
    /// One request with one buffer of data; its status.
    std::uint8_t run(RequestType type, std::uint64_t sector, Buffer data) {
        const GuestAddress header{1 * MiB};
        const RequestHeader content{
            .type = static_cast<std::uint32_t>(type), .reserved = 0, .sector = sector};
        REQUIRE(memory.store(header, content));
        REQUIRE(driver.add(std::array{Buffer{header, 16, false}, data, Buffer{header + 32, 1, true}}));
        driver.publish();
        transport.kicks[0].signal();
        REQUIRE(test::wait_for(transport.interrupts[0]));
        REQUIRE(driver.take_used());
        return memory.load<std::uint8_t>(header + 32).value();
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    TempImage image{8 * MiB};
    Disk disk = Disk::open(disk_config(image.path())).value();
    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    test::DriverQueue driver{memory, GuestAddress{64 * KiB}, 16};
    test::FakeTransport transport{1};
    QueueMetrics metrics;
    Backend backend{.throttle = {*engine, {}, 1}};
    std::unique_ptr<RequestQueue> queue;
};

std::vector<std::uint8_t> bytes_of(std::size_t length, std::uint8_t value) {
    return std::vector<std::uint8_t>(length, value);
}

}  // namespace

TEST_CASE("what is written to a sector is read back from it") {
    OneDisk disk;
    disk.blk.activate();
    disk.blk.fill(kData, 4096, 0x5a);
    CHECK(disk.blk.write(16, kData, 4096) == Answer{test::kOk, 1});
    CHECK(disk.image.read(16 * 512, 4096) == bytes_of(4096, 0x5a));
    CHECK(disk.image.read(15 * 512, 512) == bytes_of(512, 0));

    disk.image.fill(24 * 512, 4096, 0xa5);
    CHECK(disk.blk.read(24, kData, 4096) == Answer{test::kOk, 4097});
    CHECK(disk.blk.holds(kData, 4096, 0xa5));
    CHECK(disk.blk.holds(kData + 4096, 512, 0));
}

TEST_CASE("buffers aligned to nothing work as well, also beside aligned ones") {
    OneDisk disk;
    disk.blk.activate();
    disk.image.fill(0, 8192, 0x11);
    const std::array odd = {Buffer{kData + 0x1001, 511, true}, Buffer{kData + 0x2000, 513, true},
                            Buffer{kData + 0x3ff7, 3072, true}};
    CHECK(disk.blk.run(RequestType::kIn, 1, odd) == Answer{test::kOk, 4097});
    for (const Buffer& buffer : odd)
        CHECK(disk.blk.holds(buffer.address, buffer.length, 0x11));
    CHECK(disk.blk.holds(kData + 0x1000, 1, 0));
    CHECK(disk.blk.holds(kData + 0x1001 + 511, 1, 0));

    disk.blk.fill(kData + 3, 512, 0x77);
    CHECK(disk.blk.write(7, kData + 3, 512).status == test::kOk);
    CHECK(disk.blk.read(7, kData + 0x10000, 512).status == test::kOk);  // direct after buffered sees it
    CHECK(disk.blk.holds(kData + 0x10000, 512, 0x77));
    disk.blk.fill(kData, 512, 0x78);
    CHECK(disk.blk.write(7, kData, 512).status == test::kOk);
    CHECK(disk.blk.read(7, kData + 5, 512).status == test::kOk);  // and buffered after direct
    CHECK(disk.blk.holds(kData + 5, 512, 0x78));
}

TEST_CASE("header and status may be cut and joined in any way") {
    OneDisk disk;
    disk.blk.activate();
    disk.image.fill(512, 512, 0x33);
    const RequestHeader header{.type = 0, .reserved = 0, .sector = 1};
    REQUIRE(disk.blk.memory.store(GuestAddress{1 * MiB}, header));
    std::vector<Buffer> buffers;
    for (std::uint64_t i = 0; i < 16; ++i)
        buffers.push_back({GuestAddress{1 * MiB + i}, 1, false});
    buffers.push_back({kData, 100, true});
    buffers.push_back({kData + 100, 413, true});  // data and status in one
    REQUIRE(disk.blk.drivers[0].add(buffers));
    disk.blk.kick();
    const auto used = disk.blk.await();
    REQUIRE(used);
    CHECK(used->written == 513);
    CHECK(disk.blk.holds(kData, 512, 0x33));
    CHECK(disk.blk.holds(kData + 512, 1, test::kOk));

    // A write with header and data in one buffer, by an indirect table.
    REQUIRE(disk.blk.memory.store(kData, RequestHeader{.type = 1, .reserved = 0, .sector = 2}));
    disk.blk.fill(kData + 16, 512, 0x44);
    const std::array joined = {Buffer{kData, 528, false}, Buffer{kData + 0x1000, 1, true}};
    REQUIRE(disk.blk.drivers[0].add_indirect(joined, GuestAddress{1 * MiB + 0x2000}));
    disk.blk.kick();
    REQUIRE(disk.blk.await());
    CHECK(disk.image.read(2 * 512, 512) == bytes_of(512, 0x44));
}

TEST_CASE("a request of hundreds of buffers is one request, one of too many is an error") {
    OneDisk disk(1, 256);
    disk.blk.activate();
    CHECK(disk.blk.config_space().seg_max == 254);
    disk.image.fill(0, 254 * 4096, 0x66);
    std::vector<Buffer> data;
    for (std::uint64_t i = 0; i < 254; ++i)
        data.push_back({kData + 2 * 4096 * i, 4096, true});
    const auto ask = [&] {
        REQUIRE(disk.blk.drivers[0].add_indirect(disk.blk.request(0, RequestType::kIn, 0, data),
                                                 GuestAddress{1 * MiB + 0x40000}));
        disk.blk.kick();
        REQUIRE(disk.blk.await());
        return disk.blk.status(0);
    };
    CHECK(ask() == test::kOk);
    for (const Buffer& buffer : data)
        REQUIRE(disk.blk.holds(buffer.address, buffer.length, 0x66));
    data.push_back({kData, 512, true});
    CHECK(ask() == test::kIoError);
}

TEST_CASE("sectors beyond the disk are an I/O error, whatever the arithmetic") {
    OneDisk disk;
    disk.blk.activate();
    const std::uint64_t capacity = disk.blk.config_space().capacity;
    CHECK(capacity == 8 * MiB / 512);
    CHECK(disk.blk.read(capacity - 1, kData, 512).status == test::kOk);
    CHECK(disk.blk.read(capacity - 1, kData, 1024) == Answer{test::kIoError, 1});
    CHECK(disk.blk.read(capacity, kData, 512).status == test::kIoError);
    CHECK(disk.blk.read(UINT64_MAX, kData, 512).status == test::kIoError);
    CHECK(disk.blk.read(UINT64_MAX / 512 + 1, kData, 512).status == test::kIoError);  // 0, times 512
    CHECK(disk.blk.write(UINT64_MAX - 1, kData, 4096).status == test::kIoError);
    CHECK(disk.image.read(0, 4096) == bytes_of(4096, 0));
}

TEST_CASE("data that are no whole sectors are an I/O error") {
    OneDisk disk;
    disk.blk.activate();
    for (const std::uint32_t length : {1U, 511U, 513U, 4095U}) {
        CHECK(disk.blk.read(0, kData, length).status == test::kIoError);
        CHECK(disk.blk.write(0, kData, length).status == test::kIoError);
    }
    CHECK(disk.blk.device->metrics(0).errors == 8);
}

TEST_CASE("a request of unknown type is unsupported") {
    OneDisk disk;
    disk.blk.activate();
    for (const std::uint32_t type : {2U, 3U, 14U, 0x80000000U, 0xffffffffU})
        CHECK(disk.blk.run(static_cast<RequestType>(type), 0, std::array{Buffer{kData, 512, true}}) ==
              Answer{test::kUnsupported, 1});
}

TEST_CASE("a flush is answered, on a read-only disk too") {
    OneDisk disk;
    disk.blk.activate();
    CHECK(disk.blk.run(RequestType::kFlush, 0) == Answer{test::kOk, 1});
    CHECK(disk.blk.device->metrics(0).flushes == 1);

    Fd memory(::memfd_create("seed", MFD_CLOEXEC));
    REQUIRE(::ftruncate(memory.get(), 4096) == 0);
    BlockFixture seed(*disk.engine, disk_config(""), Disk::adopt(std::move(memory), "seed").value());
    seed.activate();
    CHECK(seed.run(RequestType::kFlush, 0) == Answer{test::kOk, 1});
}

TEST_CASE("a driver that negotiated no flush, or no write-back, gets stable writes") {
    OneDisk disk;
    disk.blk.activate(blk::feature::kFlush);
    disk.blk.fill(kData, 512, 0x21);
    CHECK(disk.blk.write(3, kData, 512).status == test::kOk);
    CHECK(disk.image.read(3 * 512, 512) == bytes_of(512, 0x21));
    CHECK(disk.blk.range(RequestType::kWriteZeroes, 3, 1).status == test::kOk);  // takes two steps then
    CHECK(disk.image.read(3 * 512, 512) == bytes_of(512, 0));

    CHECK(disk.blk.config_space().writeback == 1);
    disk.blk.device->write_config(kWritebackOffset, std::array{std::byte{0}});
    CHECK(disk.blk.config_space().writeback == 0);
    CHECK(disk.blk.write(4, kData, 512).status == test::kOk);
    disk.blk.device->reset();
    CHECK(disk.blk.config_space().writeback == 1);
}

TEST_CASE("a read-only disk offers no writing and refuses it") {
    OneDisk disk;
    Fd memory(::memfd_create("seed", MFD_CLOEXEC));
    REQUIRE(::ftruncate(memory.get(), 8192) == 0);
    BlockFixture seed(*disk.engine, disk_config(""), Disk::adopt(std::move(memory), "seed").value());
    CHECK((seed.device->features() & blk::feature::kReadOnly) != 0);
    CHECK((seed.device->features() &
           (blk::feature::kFlush | blk::feature::kDiscard | blk::feature::kWriteZeroes)) == 0);
    seed.activate();
    CHECK(seed.read(0, kData, 4096).status == test::kOk);
    CHECK(seed.write(0, kData, 512).status == test::kIoError);
    CHECK(seed.range(RequestType::kDiscard, 0, 1).status == test::kIoError);
    CHECK(seed.range(RequestType::kWriteZeroes, 0, 1).status == test::kIoError);
}

TEST_CASE("the serial is told, padded with zeros, and the id stands in for none") {
    OneDisk disk;
    disk.blk.activate();
    disk.blk.fill(kData, 64, 0xcc);
    const std::array id = {Buffer{kData, 3, true}, Buffer{kData + 3, 17, true}};
    CHECK(disk.blk.run(RequestType::kGetId, 0, id) == Answer{test::kOk, 21});
    const auto text = disk.blk.memory.load<std::array<char, 21>>(kData).value();
    CHECK(std::string(text.data(), 20) == std::string("serial-1") + std::string(12, '\0'));
    CHECK(text[20] == static_cast<char>(0xcc));
    CHECK(disk.blk.run(RequestType::kGetId, 0, std::array{Buffer{kData, 19, true}}).status == test::kIoError);
    CHECK(disk.blk.run(RequestType::kGetId, 0, std::array{Buffer{kData, 64, true}}) == Answer{test::kOk, 20});
}

TEST_CASE("a discard gives storage back and leaves the rest alone") {
    OneDisk disk;
    disk.blk.activate();
    disk.image.fill(0, 4 * MiB, 0xab);
    const std::uint64_t before = disk.image.allocated();
    CHECK(disk.blk.range(RequestType::kDiscard, 2048, 4096) == Answer{test::kOk, 1});
    CHECK(disk.image.read(1 * MiB - 512, 512) == bytes_of(512, 0xab));
    CHECK(disk.image.read(3 * MiB, 512) == bytes_of(512, 0xab));
    CHECK(disk.image.allocated() < before);
    CHECK(disk.image.read(8 * MiB - 512, 512).size() == 512);  // the file kept its size
    CHECK(disk.blk.device->metrics(0).discards == 1);
}

TEST_CASE("write-zeroes makes zeros, unmapped or not, on file systems with and without ZERO_RANGE") {
    for (const std::filesystem::path& directory :
         {std::filesystem::path(), std::filesystem::path("/dev/shm")}) {
        OneDisk disk(1, 64, directory);
        disk.blk.activate();
        for (const std::uint32_t flags : {0U, kRangeUnmap}) {
            disk.image.fill(0, 8192, 0xab);
            CHECK(disk.blk.range(RequestType::kWriteZeroes, 3, 5, flags) == Answer{test::kOk, 1});
            CHECK(disk.image.read(1024, 512) == bytes_of(512, 0xab));
            CHECK(disk.image.read(1536, 2560) == bytes_of(2560, 0));
            CHECK(disk.image.read(4096, 512) == bytes_of(512, 0xab));
        }
        CHECK(disk.blk.range(RequestType::kWriteZeroes, 3, 0).status == test::kOk);  // of nothing
    }
}

TEST_CASE("ranges that break the rules are refused and change nothing") {
    OneDisk disk;
    disk.blk.activate();
    disk.image.fill(0, 4096, 0xab);
    const std::uint64_t capacity = disk.blk.config_space().capacity;
    for (const RequestType type : {RequestType::kDiscard, RequestType::kWriteZeroes}) {
        CHECK(disk.blk.range(type, capacity, 1).status == test::kIoError);
        CHECK(disk.blk.range(type, capacity - 1, 2).status == test::kIoError);
        CHECK(disk.blk.range(type, UINT64_MAX, 2).status == test::kIoError);
        CHECK(disk.blk.range(type, 0, kMaxRangeSectors + 1).status == test::kIoError);
        CHECK(disk.blk.range(type, 0, 1, 2).status == test::kUnsupported);
        for (const std::uint32_t length : {0U, 15U, 17U, 32U}) {
            std::vector<Buffer> data;
            if (length > 0) data.push_back({kData, length, false});
            CHECK(disk.blk.run(type, 0, data).status == test::kIoError);
        }
    }
    CHECK(disk.blk.range(RequestType::kDiscard, 0, 1, kRangeUnmap).status == test::kUnsupported);

    disk.image.resize(
        4 * GiB);  // holes: a range of the largest size fits, one sector more is refused for its length
    CHECK(disk.blk.device->refresh_capacity().value());
    CHECK(disk.blk.range(RequestType::kDiscard, 4096, kMaxRangeSectors).status == test::kOk);
    CHECK(disk.blk.range(RequestType::kDiscard, 4096, kMaxRangeSectors + 1).status == test::kIoError);
    CHECK(disk.image.read(0, 4096) == bytes_of(4096, 0xab));
}

TEST_CASE("write-zeroes writes zeros where the file can do no better") {
    BareQueue bare;
    bare.backend.can_zero_range = false;
    bare.backend.can_punch_hole = false;
    bare.image.fill(0, 8 * MiB, 0xab);
    // More than one SQE's worth, and neither begin nor end aligned.
    REQUIRE(bare.memory.store(kData, RangeSegment{.sector = 1, .sectors = 7000, .flags = kRangeUnmap}));
    CHECK(bare.run(RequestType::kWriteZeroes, 0, {kData, 16, false}) == test::kOk);
    CHECK(bare.image.read(0, 512) == bytes_of(512, 0xab));
    CHECK(bare.image.read(512, 7000 * 512) == bytes_of(7000 * 512, 0));
    CHECK(bare.image.read(7001 * 512, 512) == bytes_of(512, 0xab));
}

TEST_CASE("direct I/O that wants more than it told goes through the page cache") {
    BareQueue bare;
    bare.backend.alignment = {.memory = 1, .offset = 1};  // what no file can do
    bare.image.fill(0, 4096, 0xab);
    CHECK(bare.run(RequestType::kIn, 1, {kData + 1, 1024, true}) == test::kOk);
    const auto bytes = bare.memory.readable(kData + 1, 1024).value();
    CHECK(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0xab}; }));
}

TEST_CASE("a full queue of requests is served, and again") {
    OneDisk disk(1, 128);
    disk.blk.activate();
    for (int round = 0; round < 5; ++round) {
        for (std::uint16_t i = 0; i < 128; ++i) {
            disk.blk.fill(kData + 4096 * std::uint64_t{i}, 4096, static_cast<std::uint8_t>(i + round));
            const std::array data = {Buffer{kData + 4096 * std::uint64_t{i}, 4096, false}};
            REQUIRE(
                disk.blk.drivers[0].add_indirect(disk.blk.request(i, RequestType::kOut, 8ULL * i, data),
                                                 GuestAddress{1 * MiB + 0x40000 + 64 * std::uint64_t{i}}));
        }
        disk.blk.kick();
        for (int i = 0; i < 128; ++i)
            REQUIRE(disk.blk.await());
        for (std::uint16_t i = 0; i < 128; ++i) {
            CHECK(disk.blk.status(i) == test::kOk);
            CHECK(disk.image.read(4096 * std::uint64_t{i}, 4096) ==
                  bytes_of(4096, static_cast<std::uint8_t>(i + round)));
        }
    }
    CHECK(disk.blk.device->metrics(0).writes == 5 * 128);
    CHECK(disk.blk.device->metrics(0).written_bytes == 5 * 128 * 4096);
}

TEST_CASE("queues and disks on one engine do not disturb each other") {
    OneDisk first(4, 64);
    const TempImage other_image(8 * MiB);
    BlockFixture second(*first.engine, disk_config(other_image.path(), 2, 64));
    first.blk.activate();
    second.activate();
    CHECK(first.blk.config_space().num_queues == 4);
    const auto work = [](BlockFixture& blk, std::size_t queue, std::uint64_t base) {
        // Tests' macros are not for threads: count instead.
        int good = 0;
        const GuestAddress data = kData + 64 * KiB * queue;
        const auto slot = static_cast<std::uint16_t>(queue);
        for (std::uint64_t i = 0; i < 200; ++i) {
            blk.fill(data, 512, static_cast<std::uint8_t>(i + queue));
            for (const bool write : {true, false}) {
                const RequestHeader header{.type = write ? 1U : 0U, .reserved = 0, .sector = base + i};
                blk.memory.store(BlockFixture::header_address(slot), header);
                const GuestAddress place = write ? data : data + 8192;
                blk.drivers[queue].add(std::array{Buffer{BlockFixture::header_address(slot), 16, false},
                                                  Buffer{place, 512, !write},
                                                  Buffer{BlockFixture::status_address(slot), 1, true}});
                blk.kick(queue);
                if (!blk.await(queue) || blk.status(slot) != test::kOk) return -1;
            }
            if (blk.holds(data + 8192, 512, static_cast<std::uint8_t>(i + queue))) ++good;
        }
        return good;
    };
    std::array<int, 6> good{};
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < 4; ++i)
            threads.emplace_back([&, i] { good[i] = work(first.blk, i, 1000 * i); });
        for (std::size_t i = 0; i < 2; ++i)
            threads.emplace_back([&, i] { good[4 + i] = work(second, i, 1000 * i); });
    }
    for (const int count : good)
        CHECK(count == 200);
    for (std::uint16_t i = 0; i < 4; ++i)
        CHECK(first.blk.device->metrics(i).reads == 200);
}

TEST_CASE("a paused device has answered everything it took, and takes nothing more") {
    OneDisk disk;
    disk.blk.activate();
    for (std::uint16_t i = 0; i < 16; ++i)
        REQUIRE(disk.blk.drivers[0].add(disk.blk.request(
            i, RequestType::kIn, 8ULL * i, std::array{Buffer{kData + 4096ULL * i, 4096, true}})));
    disk.blk.kick();
    disk.blk.device->pause();
    const QueuePosition position = disk.blk.device->queue_positions().at(0);
    CHECK(position.next_avail == position.next_used);
    std::uint16_t answered = 0;
    while (disk.blk.drivers[0].take_used())
        ++answered;
    CHECK(answered == position.next_used);
    if (answered > 0) CHECK(disk.blk.transport.interrupts[0].take() > 0);  // raised before pause() returned

    REQUIRE(disk.blk.drivers[0].add(
        disk.blk.request(20, RequestType::kIn, 0, std::array{Buffer{kData, 512, true}})));
    disk.blk.kick();
    disk.engine->run_sync([] {});
    CHECK_FALSE(disk.blk.drivers[0].take_used());
    disk.blk.device->pause();  // twice is once

    disk.blk.device->resume();
    for (; answered < 17; ++answered)
        REQUIRE(disk.blk.await());
    CHECK(disk.blk.status(20) == test::kOk);
}

TEST_CASE("a device made from a saved state is the same device and goes on where it stood") {
    OneDisk disk(2, 64);
    disk.blk.activate();
    disk.blk.device->write_config(kWritebackOffset, std::array{std::byte{0}});
    disk.blk.fill(kData, 512, 0x42);
    CHECK(disk.blk.write(5, kData, 512).status == test::kOk);
    disk.blk.device->pause();
    const State saved = disk.blk.device->state();
    const auto positions = disk.blk.device->queue_positions();
    const ConfigSpace space = disk.blk.config_space();
    CHECK(positions.at(0).next_avail == 1);
    CHECK(positions.at(1).next_avail == 0);

    // The old one gives the image up; a request waits in the ring.
    const std::uint64_t features = disk.blk.features;
    disk.blk.device.reset();
    const Config config = disk_config(disk.image.path(), 2, 64);
    auto restored = BlockDevice::create(config, Disk::open(config).value(), *disk.engine, saved).value();
    CHECK(restored->state() == saved);
    CHECK(restored->features() == saved.features);
    disk.blk.device = std::move(restored);
    const ConfigSpace again = disk.blk.config_space();
    CHECK(std::memcmp(&again, &space, sizeof space) == 0);
    REQUIRE(disk.blk.drivers[0].add(
        disk.blk.request(1, RequestType::kIn, 5, std::array{Buffer{kData + 4096, 512, true}})));
    disk.blk.drivers[0].publish();

    disk.blk.device->pause();
    disk.blk.activate(0, positions);
    CHECK(disk.blk.features == features);
    disk.engine->run_sync([] {});
    CHECK(disk.blk.device->queue_positions() == positions);  // still paused
    disk.blk.device->resume();
    REQUIRE(disk.blk.await());
    CHECK(disk.blk.status(1) == test::kOk);
    CHECK(disk.blk.holds(kData + 4096, 512, 0x42));
}

TEST_CASE("a saved state that no disk has is refused") {
    OneDisk disk;
    const State good = disk.blk.device->state();
    disk.blk.device.reset();
    const Config config = disk_config(disk.image.path());
    const auto refused = [&](auto change) {
        State state = good;
        change(state);
        return !BlockDevice::create(config, Disk::open(config).value(), *disk.engine, state).has_value();
    };
    CHECK_FALSE(refused([](State&) {}));
    CHECK(refused([](State& state) { state.features |= 1; }));
    CHECK(refused([](State& state) { state.features = 0; }));
    CHECK(refused([](State& state) { state.capacity = 0; }));
    CHECK(refused([](State& state) { state.capacity = UINT64_MAX; }));
    CHECK(refused([](State& state) { state.topology.logical_block = 0; }));
    CHECK(refused([](State& state) { state.topology.physical_block = 3000; }));
}

TEST_CASE("reset ends what is in flight and forgets the queues; the next activation starts afresh") {
    OneDisk disk;
    for (int round = 0; round < 20; ++round) {
        disk.blk.drivers.clear();
        disk.blk.drivers.emplace_back(disk.blk.memory, GuestAddress{64 * KiB}, std::uint16_t{64});
        disk.blk.activate();
        for (std::uint16_t i = 0; i < 16; ++i)
            REQUIRE(disk.blk.drivers[0].add(disk.blk.request(
                i, RequestType::kIn, 8ULL * i, std::array{Buffer{kData + 4096ULL * i, 4096, true}})));
        disk.blk.kick();
        if (round % 2 == 0) REQUIRE(disk.blk.await());
        disk.blk.device->reset();
        const std::uint16_t used = disk.blk.drivers[0].used_index();
        disk.engine->run_sync([] {});
        CHECK(disk.blk.drivers[0].used_index() == used);
        CHECK(disk.blk.device->queue_positions().empty());
    }
    disk.blk.device->reset();  // inactive: fine
}

TEST_CASE("a broken chain stops every queue until reset, with one word to the driver") {
    OneDisk disk(2, 64);
    disk.blk.activate();
    // Half a header.
    REQUIRE(disk.blk.drivers[0].add(std::array{Buffer{kData, 8, false}, Buffer{kData + 512, 1, true}}));
    disk.blk.kick();
    REQUIRE(test::wait_for(disk.blk.transport.reset_wanted));
    CHECK(disk.blk.transport.reset_reason().find("header") != std::string::npos);

    REQUIRE(disk.blk.drivers[1].add(
        disk.blk.request(0, RequestType::kIn, 0, std::array{Buffer{kData, 512, true}})));
    disk.blk.kick(1);
    disk.blk.kick(0);
    disk.engine->run_sync([] {});
    disk.engine->run_sync([] {});
    CHECK(disk.blk.drivers[1].used_index() == 0);
    CHECK(disk.blk.drivers[0].used_index() == 0);
    CHECK_FALSE(disk.blk.transport.reset_wanted.pending());
    disk.blk.device->pause();
    disk.blk.device->resume();

    disk.blk.device->reset();
    disk.blk.drivers.clear();
    disk.blk.drivers.emplace_back(disk.blk.memory, GuestAddress{64 * KiB}, std::uint16_t{64});
    disk.blk.drivers.emplace_back(disk.blk.memory, GuestAddress{128 * KiB}, std::uint16_t{64});
    disk.blk.activate();
    CHECK(disk.blk.read(0, kData, 512).status == test::kOk);
}

TEST_CASE("a chain without room for a status breaks the queue") {
    OneDisk disk;
    disk.blk.activate();
    REQUIRE(disk.blk.memory.store(kData, RequestHeader{}));
    REQUIRE(disk.blk.drivers[0].add(std::array{Buffer{kData, 16, false}}));
    disk.blk.kick();
    REQUIRE(test::wait_for(disk.blk.transport.reset_wanted));
    CHECK(disk.blk.transport.reset_reason().find("status") != std::string::npos);
}

TEST_CASE("a ring that breaks the rules stops the device, requests before it are still answered") {
    OneDisk disk;
    disk.blk.activate();
    REQUIRE(disk.blk.drivers[0].add(
        disk.blk.request(0, RequestType::kIn, 0, std::array{Buffer{kData, 4096, true}})));
    disk.blk.drivers[0].offer(64);
    disk.blk.kick();
    REQUIRE(test::wait_for(disk.blk.transport.reset_wanted));
    CHECK(disk.blk.transport.reset_reason().find("beyond the table") != std::string::npos);
    REQUIRE(disk.blk.await());
    CHECK(disk.blk.status(0) == test::kOk);
}

TEST_CASE("queues that cannot be refuse the activation") {
    OneDisk disk;
    QueueConfig config = disk.blk.drivers[0].config();
    const auto activate = [&] {
        return disk.blk.device->activate({.features = virtio::feature::kVersion1,
                                          .memory = disk.blk.memory,
                                          .hooks = disk.blk.transport,
                                          .queues = std::span(&config, 1),
                                          .kicks = disk.blk.transport.kicks,
                                          .positions = {}});
    };
    config.size = 128;
    CHECK_FALSE(activate());
    config.size = 64;
    config.device = GuestAddress{UINT64_MAX - 3};
    CHECK_FALSE(activate());
    config = disk.blk.drivers[0].config();
    CHECK(activate());
    CHECK_FALSE(activate());  // active already
}

TEST_CASE("an image that was cut gives I/O errors, one that has grown shows its new size") {
    OneDisk disk;
    disk.blk.activate();
    CHECK_FALSE(disk.blk.device->refresh_capacity().value());
    disk.image.resize(1 * MiB);
    CHECK(disk.blk.read(4 * MiB / 512, kData, 4096).status == test::kIoError);
    CHECK(disk.blk.read(1 * MiB / 512 - 4, kData, 4096).status == test::kIoError);  // half of it is there
    CHECK(disk.blk.device->refresh_capacity().value());
    CHECK(disk.blk.transport.config_change.take() == 1);
    CHECK(disk.blk.config_space().capacity == 1 * MiB / 512);

    disk.image.resize(16 * MiB);
    CHECK(disk.blk.device->refresh_capacity().value());
    CHECK(disk.blk.config_space().capacity == 16 * MiB / 512);
    CHECK(disk.blk.read(16 * MiB / 512 - 1, kData, 512).status == test::kOk);
    CHECK(disk.blk.device->state().capacity == 16 * MiB / 512);
}

TEST_CASE("what a read brings in is marked dirty, what a write takes out is not") {
    OneDisk disk;
    disk.blk.activate();
    disk.blk.device->pause();
    disk.blk.memory.start_dirty_tracking();
    disk.blk.device->resume();
    DirtyBitmap& dirty = *disk.blk.memory.dirty_bitmap(0);
    const auto data_pages = [&] { return dirty.take(2 * MiB / kPageSize / 64); };
    const std::array data = {Buffer{kData + 100, 100, true}, Buffer{kData + (2 * 4096 - 6), 412, true},
                             Buffer{kData + 5 * 4096, 4096, true}};
    CHECK(disk.blk.run(RequestType::kIn, 0, data).status == test::kOk);
    CHECK(data_pages() == 0b100111);
    CHECK(dirty.take(1 * MiB / kPageSize / 64) != 0);  // header by the test, status by the device
    CHECK(disk.blk.write(0, kData, 4096).status == test::kOk);
    CHECK(data_pages() == 0);
}

TEST_CASE("configuration space tells the disk as it is, and zeros beyond its end") {
    OneDisk disk(3, 32);
    const ConfigSpace space = disk.blk.config_space();
    CHECK(space.blk_size == 512);
    CHECK(space.seg_max == 30);
    CHECK(space.num_queues == 3);
    CHECK(space.size_max == 0);
    CHECK((512U << space.physical_block_exp) == disk.blk.device->disk().topology().physical_block);
    CHECK(space.max_discard_seg == 1);
    CHECK(space.max_discard_sectors == kMaxRangeSectors);
    CHECK(space.write_zeroes_may_unmap == 1);

    std::array<std::byte, 8> beyond{};
    beyond.fill(std::byte{1});
    disk.blk.device->read_config(56, beyond);
    CHECK(beyond[0] == std::byte{1});  // write_zeroes_may_unmap
    CHECK(beyond[4] == std::byte{0});
    beyond.fill(std::byte{1});
    disk.blk.device->read_config(UINT32_MAX, beyond);
    CHECK(beyond[0] == std::byte{0});
    disk.blk.device->write_config(0, beyond);  // nothing there can be written
    disk.blk.device->write_config(UINT32_MAX, beyond);
    CHECK(disk.blk.config_space().capacity == space.capacity);
}

TEST_CASE("a config that makes no sense is the user's error") {
    auto engine = io::Engine::create().value();
    const TempImage image(1 * MiB);
    const auto refused = [&](auto change) {
        Config config = disk_config(image.path());
        change(config);
        const auto device = BlockDevice::create(config, Disk::open(config).value(), *engine);
        return !device.has_value() && device.error().fault() == Fault::kInput;
    };
    CHECK_FALSE(refused([](Config&) {}));
    CHECK(refused([](Config& config) { config.queues = 0; }));
    CHECK(refused([](Config& config) { config.queues = 65; }));
    CHECK(refused([](Config& config) { config.queue_size = 8; }));
    CHECK(refused([](Config& config) { config.queue_size = 100; }));
    CHECK(refused([](Config& config) { config.queue_size = 2048; }));
    CHECK(refused([](Config& config) { config.serial = std::string(21, 'x'); }));
    CHECK(refused([](Config& config) { config.serial = "tab\there"; }));
}
