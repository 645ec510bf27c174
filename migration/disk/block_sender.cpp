#include "migration/disk/block_sender.h"

#include <algorithm>
#include <array>

#include "migration/memory/zero_page.h"
#include "migration/protocol/frame.h"

namespace hako::migration {
namespace {

bool is_zero(std::span<const std::byte> block) {
    std::uint64_t at = 0;
    for (; at + kPageSize <= block.size(); at += kPageSize)
        if (!is_zero_page(block.data() + at)) return false;
    return std::ranges::all_of(block.subspan(at), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

Outcome<MemoryTotals> BlockSender::send(BlockBits& bits, bool limit, const Wait& wait) {
    limit_ = limit;
    wait_ = wait;
    sent_ = {};
    for (std::size_t disk = 0; disk < bits.size(); ++disk) {
        for (std::size_t word = 0; word < bits[disk].size(); ++word) {
            if (bits[disk][word] == 0) continue;
            const std::uint64_t first = word * kChunkBlocks;
            if (connection_of_block(disk, first, setup_.connections) != index_) continue;
            // Holes go fast, and are not waited for.
            if (wait.stop != nullptr)
                if (auto reason = wait.stop->reason()) return std::unexpected(std::move(*reason));
            RunScanner runs(bits[disk], first, first + kChunkBlocks, kChunkBlocks);
            while (const auto run = runs.next())
                HAKO_TRY(send_run(disk, *run));
            bits[disk][word] = 0;
        }
    }
    return sent_;
}

/// Of one chunk.
Outcome<> BlockSender::send_run(std::size_t disk, const PageRun& run) {
    const SourceDisk& image = setup_.disks[disk];
    const std::uint64_t end = run.first + run.pages;
    const auto number = static_cast<std::uint16_t>(disk);
    for (std::uint64_t at = run.first; at < end;) {
        const std::uint64_t data = ImageReader::next_data(image, at, end);
        if (data > at)
            HAKO_TRY(send_frame(
                {.disk = number, .zero = true, .first = at, .count = static_cast<std::uint32_t>(data - at)},
                {}));
        if (data == end) return {};
        const std::uint64_t hole = ImageReader::next_hole(image, data, end);
        for (at = data; at < hole;) {
            const std::uint64_t count = std::min<std::uint64_t>(hole - at, kMaxFrameBlocks);
            HAKO_TRY(send_data(disk, {.first = at, .pages = count}));
            at += count;
        }
    }
    return {};
}

/// Reads them, and tells those that are zeros from the others.
Outcome<> BlockSender::send_data(std::size_t disk, const PageRun& run) {
    if (!reader_) reader_.emplace();
    const std::span<std::byte> content =
        HAKO_TRY_WRAP(reader_->read(setup_.disks[disk], run.first, run.pages), "the image of a disk");
    const auto block = [&](std::uint64_t index) {
        return content.subspan(index * kBlockBytes,
                               std::min(kBlockBytes, content.size() - index * kBlockBytes));
    };
    for (std::uint64_t at = 0; at < run.pages;) {
        const bool zero = is_zero(block(at));
        std::uint64_t end = at + 1;
        while (end < run.pages && is_zero(block(end)) == zero)
            ++end;
        const std::uint64_t stop = std::min<std::uint64_t>(end * kBlockBytes, content.size());
        HAKO_TRY(send_frame(
            {.disk = static_cast<std::uint16_t>(disk),
             .zero = zero,
             .first = run.first + at,
             .count = static_cast<std::uint32_t>(end - at)},
            zero ? std::span<std::byte>() : content.subspan(at * kBlockBytes, stop - at * kBlockBytes)));
        at = end;
    }
    return {};
}

Outcome<> BlockSender::send_frame(const Blocks& blocks, std::span<std::byte> content) {
    const Blob payload = encode(blocks);
    auto header = encode_header(Type::kBlocks, 0, payload);
    std::array<iovec, 3> parts{
        {{.iov_base = header.data(), .iov_len = header.size()},
         {.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()},
         {.iov_base = content.data(), .iov_len = content.size()}}};
    const std::uint64_t bytes = header.size() + payload.size() + content.size();
    if (limit_) HAKO_TRY(setup_.limit.acquire(bytes, wait_.stop));
    HAKO_TRY(stream_.send(std::span<iovec>(parts).first(content.empty() ? 2 : 3), wait_));
    const MemoryTotals more{.bytes = bytes, .blocks = blocks.count, .block_bytes = bytes};
    setup_.counters.add(more);
    sent_.bytes += bytes;
    sent_.block_bytes += bytes;
    sent_.blocks += blocks.count;
    return {};
}

}  // namespace hako::migration
