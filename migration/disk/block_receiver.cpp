#include "migration/disk/block_receiver.h"

namespace hako::migration {

Outcome<> BlockReceiver::check(const Blocks& blocks) const {
    if (blocks.disk >= setup_.disks.size())
        return fail_as(Event::kGarbage, "blocks of disk {}: {} come along", blocks.disk, setup_.disks.size());
    const DiskShape shape{.id = {}, .bytes = setup_.disks[blocks.disk]->bytes()};
    if (blocks.count == 0 || blocks.first >= shape.blocks() || blocks.count > shape.blocks() - blocks.first ||
        blocks.count > kChunkBlocks - blocks.first % kChunkBlocks)
        return fail_as(Event::kGarbage, "{} blocks at {} of disk {}: not inside one chunk of it",
                       blocks.count, blocks.first, blocks.disk);
    if (!blocks.zero && blocks.count > kMaxFrameBlocks)
        return fail_as(Event::kGarbage, "{} blocks in one frame: at most {} go into one", blocks.count,
                       kMaxFrameBlocks);
    if (connection_of_block(blocks.disk, blocks.first, setup_.connections) != index_)
        return fail_as(Event::kGarbage,
                       "blocks at {} of disk {} came over connection {}, which is not theirs", blocks.first,
                       blocks.disk, index_);
    return {};
}

Outcome<MemoryTotals> BlockReceiver::receive(const Blocks& blocks, const Wait& wait) {
    HAKO_TRY(check(blocks));
    ImageWriter& image = *setup_.disks[blocks.disk];
    std::uint64_t& came = setup_.received[blocks.disk][blocks.first / 64];
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - blocks.count) << blocks.first % 64;
    const std::uint64_t offset = blocks.first * kBlockBytes;
    const std::uint64_t length = bytes_of_blocks(image.bytes(), blocks.first, blocks.count);
    MemoryTotals more{.bytes = kHeaderBytes + encode(blocks).size(), .blocks = blocks.count};
    if (blocks.zero) {
        HAKO_TRY(image.zero(offset, length, (came & mask) != 0));
    } else {
        content_.resize(length);
        HAKO_TRY(stream_.receive(std::span<std::byte>(content_), wait));
        HAKO_TRY(image.write(offset, content_));
        more.bytes += length;
    }
    came |= mask;
    more.block_bytes = more.bytes;
    setup_.counters.add(more);
    return more;
}

}  // namespace hako::migration
