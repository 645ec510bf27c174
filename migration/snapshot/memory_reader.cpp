#include "migration/snapshot/memory_reader.h"

#include <algorithm>

#include "vmm/base/crc32c.h"

namespace hako::migration {

std::unexpected<Error> PageCheck::wrong(std::uint64_t offset) const {
    return fail_input("{}: the page at {:#x} is not what was saved: its checksum is wrong", file_.path,
                      offset);
}

Result<> PageCheck::data(std::span<const std::byte> pages, std::uint64_t offset) const {
    for (std::uint64_t at = 0; at < pages.size(); at += kPageSize)
        if (crc32c(pages.subspan(at, kPageSize)) != checksums_[(offset + at) / kPageSize])
            return wrong(offset + at);
    return {};
}

Result<> PageCheck::hole(std::uint64_t offset, std::uint64_t length) const {
    for (std::uint64_t at = offset; at < offset + length; at += kPageSize)
        if (checksums_[at / kPageSize] != zero_) return wrong(at);
    return {};
}

Result<> read_memory(const MemoryFile& file, const FileBits& pages, const PageChecksums& checksums,
                     GuestMemory& memory, Before before) {
    const PageCheck check(file, checksums);
    for (const MemoryRegion& region : memory.regions()) {
        const auto host = [&](std::uint64_t offset, std::uint64_t length) {
            return std::span(region.host + (offset - region.file_offset), length);
        };
        const auto data = [&](std::uint64_t offset, std::uint64_t length) -> Result<> {
            HAKO_TRY(file.read(host(offset, length), offset));
            return check.data(host(offset, length), offset);
        };
        const auto hole = [&](std::uint64_t offset, std::uint64_t length) -> Result<> {
            if (before == Before::kOlderPages) std::ranges::fill(host(offset, length), std::byte{0});
            return check.hole(offset, length);
        };
        HAKO_TRY(
            for_each_extent(file, pages, region.file_offset, region.file_offset + region.size, data, hole));
    }
    return {};
}

FileBits all_pages(std::uint64_t bytes) {
    const std::uint64_t pages = bytes / kPageSize;
    FileBits bits((pages + 63) / 64, ~std::uint64_t{0});
    if (pages % 64 != 0) bits.back() >>= 64 - pages % 64;
    return bits;
}

}  // namespace hako::migration
