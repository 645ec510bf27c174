// Data and holes of a snapshot's memory file.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "migration/memory/page_bits.h"
#include "migration/snapshot/folder.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/base/units.h"

namespace hako::migration {

/// A memory file that was opened and measured.
struct MemoryFile {
    Fd fd;
    std::string path;  ///< for messages
    std::uint64_t size = 0;

    /// Opens one and checks that it has `size` bytes.
    static Result<MemoryFile> open(const std::string& path, std::uint64_t size);

    /// Fills `into` with what is at `offset`.
    Result<> read(std::span<std::byte> into, std::uint64_t offset) const;
    /// The first data in [from, end): where it begins and ends. Whole pages; at `end`: there is none.
    struct Extent {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
    };
    [[nodiscard]] Result<Extent> next_data(std::uint64_t from, std::uint64_t end) const;
};

/// Data in one piece, at most.
inline constexpr std::uint64_t kMaxPiece = 4 * MiB;

/// Goes through the pages of [from, end) that are set in `pages`: calls `data(offset, length)` for those that
/// the file has, at most kMaxPiece at a time, and `hole(offset, length)` for the others. All in bytes, whole
/// pages.
template <typename Data, typename Hole>
Result<> for_each_extent(const MemoryFile& file, const FileBits& pages, std::uint64_t from, std::uint64_t end,
                         Data data, Hole hole) {
    RunScanner runs(pages, from / kPageSize, end / kPageSize, end / kPageSize);
    while (const auto run = runs.next()) {
        const std::uint64_t stop = (run->first + run->pages) * kPageSize;
        for (std::uint64_t at = run->first * kPageSize; at < stop;) {
            const MemoryFile::Extent extent = HAKO_TRY(file.next_data(at, stop));
            if (extent.begin > at) HAKO_TRY(hole(at, extent.begin - at));
            for (at = extent.begin; at < extent.end;) {
                const std::uint64_t length = std::min(extent.end - at, kMaxPiece);
                HAKO_TRY(data(at, length));
                at += length;
            }
        }
    }
    return {};
}

}  // namespace hako::migration
