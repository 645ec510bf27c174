#include "migration/disk/image_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "migration/disk/blocks.h"

namespace hako::migration {
namespace {

void set_direct(int fd, bool on) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags >= 0) ::fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT);
}

}  // namespace

SourceDisk source_disk(Fd image, std::uint64_t bytes) {
    set_direct(image.get(), true);
    return {.image = std::move(image), .bytes = bytes};
}

void ImageReader::Free::operator()(std::byte* memory) const {
    std::free(memory);
}

ImageReader::ImageReader()
    : buffer_(static_cast<std::byte*>(std::aligned_alloc(kPageSize, kMaxFrameBlocks * kBlockBytes))) {}

std::uint64_t ImageReader::next_data(const SourceDisk& disk, std::uint64_t from, std::uint64_t end) {
    const off_t at = ::lseek(disk.image.get(), static_cast<off_t>(from * kBlockBytes), SEEK_DATA);
    if (at < 0) return errno == ENXIO ? end : from;  // else nothing tells: all may be data
    return std::clamp(static_cast<std::uint64_t>(at) / kBlockBytes, from, end);
}

std::uint64_t ImageReader::next_hole(const SourceDisk& disk, std::uint64_t from, std::uint64_t end) {
    for (std::uint64_t at = from * kBlockBytes;;) {
        const off_t hole = ::lseek(disk.image.get(), static_cast<off_t>(at), SEEK_HOLE);
        if (hole < 0) return end;
        const std::uint64_t first = align_up(static_cast<std::uint64_t>(hole), kBlockBytes) / kBlockBytes;
        if (first >= end) return end;
        // A hole that ends in the same block as it begins is part of the data.
        const std::uint64_t data = next_data(disk, first, end);
        if (data > first) return std::max(first, from);
        at = (first + 1) * kBlockBytes;
        if (first + 1 >= end) return end;
    }
}

Result<std::span<std::byte>> ImageReader::read(const SourceDisk& disk, std::uint64_t first,
                                               std::uint64_t blocks) {
    if (!buffer_) return fail_host("no memory to read an image into");
    const std::uint64_t offset = first * kBlockBytes;
    const std::uint64_t wanted = bytes_of_blocks(disk.bytes, first, blocks);
    // Direct I/O wants whole blocks, and stops at the file's end.
    const std::uint64_t most = align_up(wanted, kPageSize);
    for (std::uint64_t got = 0; got < wanted;) {
        const ssize_t count =
            ::pread(disk.image.get(), buffer_.get() + got, most - got, static_cast<off_t>(offset + got));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EINVAL && (::fcntl(disk.image.get(), F_GETFL) & O_DIRECT) != 0) {
            set_direct(disk.image.get(), false);
            continue;
        }
        if (count < 0) return fail_errno(errno, "cannot be read at {}", offset + got);
        if (count == 0) return fail_host("it ends at {}: it was cut", offset + got);
        got += static_cast<std::uint64_t>(count);
    }
    return std::span(buffer_.get(), wanted);
}

}  // namespace hako::migration
