#include "migration/snapshot/memory_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "vmm/base/crc32c.h"

namespace hako::migration {
namespace {

constexpr std::uint64_t kPiece = 4 * MiB;

/// A run of bytes of the file that are not a hole.
struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

Result<Extent> next_extent(const Fd& file, const std::string& path, std::uint64_t from, std::uint64_t size) {
    const off_t data = ::lseek(file.get(), static_cast<off_t>(from), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return Extent{.offset = size};
    if (data < 0) return fail_errno(errno, "{}: cannot be read", path);
    const off_t hole = ::lseek(file.get(), data, SEEK_HOLE);
    if (hole < 0) return fail_errno(errno, "{}: cannot be read", path);
    const std::uint64_t begin = align_down(static_cast<std::uint64_t>(data), kPageSize);
    const std::uint64_t end = std::min(align_up(static_cast<std::uint64_t>(hole), kPageSize), size);
    return Extent{.offset = begin, .length = end - begin};
}

Result<> read_piece(const Fd& file, const std::string& path, std::span<std::byte> into,
                    std::uint64_t offset) {
    while (!into.empty()) {
        const ssize_t got = ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(errno, "{}: cannot be read", path);
        if (got == 0) return fail_input("{}: it ends too early", path);
        into = into.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return {};
}

}  // namespace

Result<Fd> open_memory_file(const std::string& path, std::uint64_t size) {
    Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return fail_input("{}: {}", path, errno_text(errno));
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return fail_errno(errno, "{}", path);
    if (!S_ISREG(status.st_mode)) return fail_input("{}: is not a regular file", path);
    if (static_cast<std::uint64_t>(status.st_size) != size)
        return fail_input("{}: has {} bytes, and the snapshot's memory {}: it was cut or replaced", path,
                          status.st_size, size);
    return file;
}

Result<> read_memory(const Fd& file, const std::string& path, const PageChecksums& checksums,
                     GuestMemory& memory) {
    const std::uint32_t zero = crc32c(std::array<std::byte, kPageSize>{});
    const auto wrong = [&](std::uint64_t offset) {
        return fail_input("{}: the page at {:#x} is not what was saved: its checksum is wrong", path, offset);
    };
    for (const MemoryRegion& region : memory.regions()) {
        const std::uint64_t end = region.file_offset + region.size;
        for (std::uint64_t at = region.file_offset; at < end;) {
            Extent extent = HAKO_TRY(next_extent(file, path, at, end));
            for (; at < extent.offset; at += kPageSize)
                if (checksums[at / kPageSize] != zero) return wrong(at);
            while (extent.length > 0) {
                const std::uint64_t length = std::min(extent.length, kPiece);
                std::byte* const host = region.host + (extent.offset - region.file_offset);
                HAKO_TRY(read_piece(file, path, std::span(host, length), extent.offset));
                for (std::uint64_t page = 0; page < length; page += kPageSize)
                    if (crc32c(std::span(host + page, kPageSize)) !=
                        checksums[(extent.offset + page) / kPageSize])
                        return wrong(extent.offset + page);
                extent.offset += length;
                extent.length -= length;
            }
            at = std::max(at, extent.offset);
        }
    }
    return {};
}

}  // namespace hako::migration
