// Disks that move along: what is read, what is sent, what is taken, and what is left after a failure.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "migration/disk/block_receiver.h"
#include "migration/disk/block_sender.h"
#include "migration/disk/new_images.h"
#include "migration/transport/channel.h"
#include "tests/unit/migration/rig.h"
#include "tests/unit/migration/stream_pair.h"

using namespace hako;
using namespace hako::migration;
using namespace hako::migration::testing;

namespace {

constexpr Wait kPatient{.silence = milliseconds(60'000)};
/// More than two chunks; the last block is a part of one.
constexpr std::uint64_t kBytes = 150 * kBlockBytes + 1536;

std::vector<DiskShape> shapes(std::uint64_t bytes) {
    return {{.id = "disk", .bytes = bytes}};
}

/// A receiver of one disk.
struct Receiver {
    explicit Receiver(std::uint64_t bytes, bool fresh = true, unsigned connections = 1, unsigned index = 0)
        : disk(bytes), bits(make_block_bits(shapes(bytes), false)) {
        writers.push_back(std::make_unique<ImageWriter>(
            TargetDisk{.image = disk.open(), .name = "copy", .bytes = bytes, .fresh = fresh}));
        receiver.emplace(
            BlockReceiverSetup{
                .disks = writers, .connections = connections, .received = bits, .counters = counters},
            *pair.far, index);
    }
    FakeDisk disk;
    BlockBits bits;
    MemoryCounters counters;
    StreamPair pair;
    std::vector<std::unique_ptr<ImageWriter>> writers;
    std::optional<BlockReceiver> receiver;
};

/// Sends what is set of `bits` to `to`, and what went is returned.
MemoryTotals send(const FakeDisk& disk, BlockBits bits, Receiver& to) {
    BandwidthLimit limit;
    MemoryCounters counters;
    std::vector<SourceDisk> disks;
    disks.push_back(source_disk(disk.open(), disk.bytes));
    BlockSender sender({.disks = disks, .limit = limit, .counters = counters}, *to.pair.near, 0);
    MemoryTotals sent;
    std::thread sends([&] {
        sent = sender.send(bits, true, kPatient).value();
        CHECK(count_bits(bits) == 0);
        (void)send_message(*to.pair.near, Ping{}, kPatient);
    });
    MemoryTotals came;
    for (;;) {
        const Frame frame = receive_frame(*to.pair.far, kPatient).value();
        if (frame.type != Type::kBlocks) break;
        came += to.receiver->receive(open_frame<Blocks>(frame).value(), kPatient).value();
    }
    sends.join();
    CHECK(came == sent);
    CHECK(counters.totals() == sent);
    return sent;
}

std::uint64_t storage_of(const FakeDisk& disk) {
    struct ::stat info{};
    REQUIRE(::fstat(disk.image.get(), &info) == 0);
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

}  // namespace

TEST_CASE("disk blocks: bits end with the disk, and a chunk has one connection") {
    const BlockBits all = make_block_bits(shapes(kBytes), true);
    CHECK(count_bits(all) == 151);
    CHECK(count_bits(make_block_bits(shapes(64 * kBlockBytes), true)) == 64);
    CHECK(bytes_of_blocks(kBytes, 150, 1) == 1536);
    CHECK(bytes_of_blocks(kBytes, 149, 2) == kBlockBytes + 1536);
    CHECK(connection_of_block(0, 63, 4) == 0);
    CHECK(connection_of_block(0, 64, 4) == 1);
    CHECK(connection_of_block(3, 64, 4) == 0);
}

TEST_CASE("disk blocks: an image is copied, its holes and zeros are told") {
    const FakeDisk disk(kBytes);
    disk.write(5 * kBlockBytes + 100, "early");
    disk.write(63 * kBlockBytes + kBlockBytes - 3, "over the edge of a chunk");
    disk.write(100 * kBlockBytes, std::string(30 * kBlockBytes, 'x'));
    disk.write(110 * kBlockBytes, std::string(2 * kBlockBytes, '\0'));
    disk.write(kBytes - 4, "end.");
    Receiver to(kBytes);
    const MemoryTotals sent = send(disk, make_block_bits(shapes(kBytes), true), to);
    CHECK(to.disk.content() == disk.content());
    CHECK(to.bits == make_block_bits(shapes(kBytes), true));
    CHECK(sent.blocks == 151);
    // 5, 63, 64, 100 to 109, 112 to 129, and a part of 150.
    CHECK(sent.block_bytes > 31 * kBlockBytes);
    CHECK(sent.block_bytes < 32 * kBlockBytes);
    CHECK(storage_of(to.disk) <= 32 * kBlockBytes);
}

TEST_CASE("disk blocks: what is written meanwhile comes again, and nothing else") {
    const FakeDisk disk(kBytes);
    disk.write(7 * kBlockBytes, "old");
    disk.write(70 * kBlockBytes, "old");
    Receiver to(kBytes);
    send(disk, make_block_bits(shapes(kBytes), true), to);
    // The one is said to be written, the other is a write that nobody tells of.
    disk.write(7 * kBlockBytes, "new");
    disk.write(70 * kBlockBytes, "new");
    BlockBits dirty = make_block_bits(shapes(kBytes), false);
    dirty[0][0] = std::uint64_t{1} << 7;
    CHECK(send(disk, dirty, to).blocks == 1);
    CHECK(to.disk.content().substr(7 * kBlockBytes, 3) == "new");
    CHECK(to.disk.content().substr(70 * kBlockBytes, 3) == "old");
}

TEST_CASE("disk blocks: what was discarded meanwhile is zeros at the destination, and its storage is free") {
    const FakeDisk disk(kBytes);
    disk.write(0, std::string(64 * kBlockBytes, 'x'));
    Receiver to(kBytes);
    send(disk, make_block_bits(shapes(kBytes), true), to);
    REQUIRE(::fallocate(disk.image.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 64 * kBlockBytes) ==
            0);
    BlockBits dirty = make_block_bits(shapes(kBytes), false);
    dirty[0][0] = ~std::uint64_t{0};
    CHECK(send(disk, dirty, to).block_bytes < kPageSize);
    CHECK(to.disk.content() == disk.content());
    CHECK(storage_of(to.disk) == 0);
}

TEST_CASE("disk blocks: an image that was there before keeps nothing of its own") {
    const FakeDisk disk(kBytes);
    disk.write(3 * kBlockBytes, "mine");
    Receiver to(kBytes, false);
    to.disk.write(0, std::string(kBytes, 'z'));
    send(disk, make_block_bits(shapes(kBytes), true), to);
    CHECK(to.disk.content() == disk.content());
}

TEST_CASE("disk blocks: an image that was cut is an error of the source") {
    const FakeDisk disk(kBytes);
    disk.write(0, std::string(kBytes, 'x'));
    REQUIRE(::ftruncate(disk.image.get(), 5 * kBlockBytes) == 0);
    std::vector<SourceDisk> disks;
    disks.push_back(source_disk(disk.open(), disk.bytes));
    ImageReader reader;
    CHECK(reader.read(disks[0], 4, 1).has_value());
    CHECK_FALSE(reader.read(disks[0], 4, 2).has_value());
}

TEST_CASE("disk blocks: no number from the wire is taken on trust") {
    const auto take = [](const Blocks& blocks, unsigned connections = 1, unsigned index = 0) {
        Receiver to(kBytes, true, connections, index);
        to.pair.near->shut_down();
        const auto came = to.receiver->receive(blocks, kPatient);
        CHECK(count_bits(to.bits) == (came ? blocks.count : 0));
        return came ? std::nullopt : std::optional(came.error().event);
    };
    CHECK_FALSE(take({.disk = 0, .zero = true, .first = 0, .count = 64}).has_value());
    CHECK_FALSE(take({.disk = 0, .zero = true, .first = 150, .count = 1}).has_value());
    for (const Blocks& bad : {Blocks{.disk = 1, .zero = true, .first = 0, .count = 1},
                              Blocks{.disk = 0xffff, .zero = true, .first = 0, .count = 1},
                              Blocks{.disk = 0, .zero = true, .first = 0, .count = 0},
                              Blocks{.disk = 0, .zero = true, .first = 151, .count = 1},
                              Blocks{.disk = 0, .zero = true, .first = 150, .count = 2},
                              Blocks{.disk = 0, .zero = true, .first = 1, .count = 64},
                              Blocks{.disk = 0, .zero = true, .first = 0, .count = 0xffffffff},
                              Blocks{.disk = 0, .zero = true, .first = ~0ULL, .count = 1},
                              Blocks{.disk = 0, .zero = true, .first = 1ULL << 48, .count = 1},
                              Blocks{.disk = 0, .zero = false, .first = 0, .count = kMaxFrameBlocks + 1}}) {
        CAPTURE(bad.first);
        CHECK(take(bad) == Event::kGarbage);
    }
    // Another connection's.
    CHECK(take({.disk = 0, .zero = true, .first = 64, .count = 1}, 2, 0) == Event::kGarbage);
    CHECK_FALSE(take({.disk = 0, .zero = true, .first = 64, .count = 1}, 2, 1).has_value());
    // Content that does not come.
    CHECK(take({.disk = 0, .zero = false, .first = 0, .count = 1}) == Event::kLost);
}

TEST_CASE("new images: made where there is none, overwritten where one fits, refused where it does not") {
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / fmt::format("hako-new-images-{}", ::getpid());
    std::filesystem::create_directory(folder);
    const std::string made = folder / "made.img";
    const std::string there = folder / "there.img";
    {
        NewImages images;
        const auto fresh = images.open(made, kBytes);
        REQUIRE(fresh.has_value());
        CHECK(fresh->fresh);
        CHECK(std::filesystem::file_size(made) == kBytes);
        std::filesystem::copy_file(made, there);
        const auto old = images.open(there, kBytes);
        REQUIRE(old.has_value());
        CHECK_FALSE(old->fresh);
        CHECK_FALSE(images.open(there, kBytes + 512).has_value());
        CHECK_FALSE(images.open(folder, kBytes).has_value());
        CHECK_FALSE(images.open(folder / "no" / "folder.img", kBytes).has_value());
        images.remove();
    }
    CHECK_FALSE(std::filesystem::exists(made));
    CHECK(std::filesystem::exists(there));
    {
        // One that another has put in its place meanwhile stays.
        NewImages images;
        REQUIRE(images.open(made, kBytes).has_value());
        std::filesystem::rename(there, made);
        images.remove();
        CHECK(std::filesystem::exists(made));
    }
    {
        NewImages images;
        std::filesystem::remove(made);
        REQUIRE(images.open(made, kBytes).has_value());
    }
    CHECK(std::filesystem::exists(made));
    std::filesystem::remove_all(folder);
}

TEST_CASE("a VM moves with its disks, which its guest writes meanwhile") {
    for (const unsigned connections : {1U, 3U}) {
        for (const bool postcopy : {false, true}) {
            CAPTURE(connections);
            CAPTURE(postcopy);
            Rig rig;
            rig.source_config.connections = connections;
            rig.source_config.convergence.postcopy = postcopy;
            if (postcopy) rig.source_config.convergence.downtime = milliseconds(1);
            rig.source_machine.add_disk(kBytes);
            rig.source_machine.add_disk(512);
            rig.source_machine.disk(0).write(9 * kBlockBytes, std::string(20 * kBlockBytes, 'd'));
            rig.source_machine.disk(1).write(7, "small");
            rig.source_machine.writes = 5;
            rig.migrate();
            CHECK(rig.source_status == Status::kFinished);
            CHECK(rig.destination_status == Status::kFinished);
            CHECK(rig.world.broken() == "");
            REQUIRE(rig.destination_machine.disks.size() == 2);
            for (std::size_t disk = 0; disk < 2; ++disk)
                CHECK(rig.destination_machine.disks[disk].content() ==
                      rig.source_machine.disk(disk).content());
            const auto progress = rig.source->progress().disks;
            REQUIRE(progress.has_value());
            CHECK(progress->bytes_total == kBytes + 512);
            CHECK(progress->bytes_remaining == 0);
            CHECK(progress->bytes_transmitted > 20 * kBlockBytes);
            CHECK(rig.destination->progress().disks->bytes_transmitted == progress->bytes_transmitted);
        }
    }
}

TEST_CASE("a local migration takes no disk along") {
    Rig rig;
    rig.source_config.local = true;
    rig.source_machine.add_disk(kBytes);
    rig.migrate();
    CHECK(rig.source_status == Status::kFailed);
    CHECK(rig.world.runs() == World::Who::kSource);
}

TEST_CASE("a disk that cannot be read, or tracked, keeps the VM at the source") {
    for (const std::string_view call : {"image", "fetch_dirty_blocks"}) {
        CAPTURE(call);
        Rig rig;
        rig.source_machine.add_disk(kBytes);
        rig.source_machine.hook = [&](std::string_view now) -> Result<> {
            if (now == call) return fail_host("no");
            return {};
        };
        rig.migrate();
        CHECK(rig.source_status == Status::kFailed);
        CHECK(rig.world.runs() == World::Who::kSource);
        CHECK(rig.destination_machine.discarded);
    }
}

TEST_CASE("a destination whose disk is full says so, and the VM stays") {
    std::signal(SIGXFSZ, SIG_IGN);
    struct rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    Rig rig;
    rig.source_machine.add_disk(kBytes);
    rig.source_machine.disk(0).write(20 * kBlockBytes, std::string(kBlockBytes, 'd'));
    // Once the image is there.
    rig.destination_observer = [&](const Progress& progress) {
        if (progress.step != state_name(DestinationState::kJoining)) return;
        const struct rlimit small{.rlim_cur = 10 * kBlockBytes, .rlim_max = before.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &small);
    };
    rig.migrate();
    ::setrlimit(RLIMIT_FSIZE, &before);
    CHECK(rig.source_status == Status::kFailed);
    CHECK(rig.world.runs() == World::Who::kSource);
    CHECK(rig.destination_machine.discarded);
    const std::vector<std::string> causes = rig.source->progress().causes;
    REQUIRE(!causes.empty());
    CHECK(causes.back().find("File too large") != std::string::npos);
}
