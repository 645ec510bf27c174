// Which blocks of a disk were written: the map itself, and what a device marks in it.
#include "virtio/blk/dirty_blocks.h"

#include <doctest/doctest.h>

#include "tests/unit/virtio/block_fixture.h"
#include "tests/unit/virtio/temp_image.h"

using namespace hako;
using namespace hako::virtio::blk;
using test::Answer;
using test::BlockFixture;
using test::disk_config;
using test::kData;
using test::TempImage;

namespace {

constexpr std::uint64_t kBlock = DirtyBlocks::kBlockBytes;
constexpr std::uint32_t kSectors = kBlock / kSectorSize;  // of a block

std::vector<std::uint64_t> take(DirtyBlocks& dirty) {
    std::vector<std::uint64_t> bits(dirty.words());
    dirty.take(bits);
    return bits;
}

}  // namespace

TEST_CASE("dirty blocks: a range marks each block that it touches, once") {
    using Bits = std::vector<std::uint64_t>;
    DirtyBlocks dirty(130 * kBlock + 1);
    CHECK(take(dirty) == Bits{0, 0, 0});
    dirty.mark(kBlock - 1, 2);
    dirty.mark(5 * kBlock, kBlock);
    CHECK(take(dirty) == Bits{0b100011, 0, 0});
    CHECK(take(dirty) == Bits{0, 0, 0});
    dirty.mark(63 * kBlock, 66 * kBlock);
    CHECK(take(dirty) == Bits{std::uint64_t{1} << 63, ~std::uint64_t{0}, 1});
    dirty.mark(0, 0);
    CHECK(take(dirty) == Bits{0, 0, 0});
    dirty.mark(0, 131 * kBlock);
    CHECK(take(dirty) == Bits{~std::uint64_t{0}, ~std::uint64_t{0}, 0b111});
    // Beyond the end, of a disk that has grown.
    dirty.mark(129 * kBlock, 1000 * kBlock);
    dirty.mark(5000 * kBlock, kBlock);
    CHECK(take(dirty) == Bits{0, 0, 0b110});
}

TEST_CASE("dirty blocks: what is there already stays set") {
    DirtyBlocks dirty(64 * kBlock);
    std::vector<std::uint64_t> bits{0b1000};
    dirty.mark(0, 1);
    dirty.take(bits);
    CHECK(bits[0] == 0b1001);
}

TEST_CASE("a device marks what its guest writes, discards and makes zeros, while somebody wants to know") {
    auto engine = io::Engine::create().value();
    TempImage image(130 * kBlock);
    BlockFixture fixture(*engine, disk_config(image.path()));
    fixture.activate();
    const Answer good{test::kOk, 1};
    CHECK(fixture.write(0, kData, 4096) == good);
    using Bits = std::vector<std::uint64_t>;
    const std::shared_ptr<DirtyBlocks> dirty = fixture.device->track_writes();
    CHECK(take(*dirty) == Bits{0, 0, 0});
    CHECK(fixture.read(3 * kSectors, kData, 4096).status == test::kOk);
    CHECK(fixture.run(RequestType::kFlush, 0) == good);
    CHECK(take(*dirty) == Bits{0, 0, 0});
    CHECK(fixture.write(2 * kSectors, kData, 4096) == good);
    CHECK(fixture.write(5 * kSectors - 1, kData, 4096) == good);
    CHECK(take(*dirty) == Bits{0b110100, 0, 0});
    CHECK(fixture.range(RequestType::kDiscard, 64 * kSectors, 2 * kSectors) == good);
    CHECK(take(*dirty) == Bits{0, 0b11, 0});
    CHECK(fixture.range(RequestType::kWriteZeroes, 128 * kSectors + 8, 8) == good);
    CHECK(take(*dirty) == Bits{0, 0, 1});
    fixture.device->untrack_writes();
    CHECK(fixture.write(0, kData, 4096) == good);
    CHECK(take(*dirty) == Bits{0, 0, 0});
}
