#include "migration/disk/image_writer.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "vmm/base/copy_file.h"
#include "vmm/base/units.h"

namespace hako::migration {
namespace {

/// So much may wait in the page cache: the rest of it is what the guest would wait for in the pause.
constexpr std::uint64_t kMaxUnsynced = 32 * MiB;

constexpr std::size_t kZeroesSize = 64 * KiB;
constexpr std::array<std::byte, kZeroesSize> kZeroes{};

}  // namespace

Result<> ImageWriter::write(std::uint64_t offset, std::span<const std::byte> content) {
    HAKO_TRY_WRAP(write_at(disk_.image.get(), content, offset), "{}", disk_.name);
    if (unsynced_.fetch_add(content.size()) + content.size() >= kMaxUnsynced) return sync();
    return {};
}

Result<> ImageWriter::zero(std::uint64_t offset, std::uint64_t length, bool written) {
    if (disk_.fresh && !written) return {};
    for (const int mode : {FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE}) {
        if (::fallocate(disk_.image.get(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                        static_cast<off_t>(length)) == 0)
            return {};
        if (errno == ENOSPC) break;
    }
    while (length > 0) {
        const std::uint64_t count = std::min<std::uint64_t>(length, kZeroesSize);
        HAKO_TRY(write(offset, std::span(kZeroes).first(count)));
        offset += count;
        length -= count;
    }
    return {};
}

Result<> ImageWriter::sync() {
    unsynced_ = 0;
    if (::fdatasync(disk_.image.get()) != 0)
        return fail_errno(errno, "{}: cannot be written to the storage", disk_.name);
    return {};
}

}  // namespace hako::migration
