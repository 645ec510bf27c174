#include "migration/snapshot/extents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hako::migration {

Result<MemoryFile> MemoryFile::open(const std::string& path, std::uint64_t size) {
    MemoryFile file{.fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), .path = path, .size = size};
    if (!file.fd.valid()) return fail_input("{}: {}", path, errno_text(errno));
    struct stat status{};
    if (::fstat(file.fd.get(), &status) != 0) return fail_errno(errno, "{}", path);
    if (!S_ISREG(status.st_mode)) return fail_input("{}: is not a regular file", path);
    if (static_cast<std::uint64_t>(status.st_size) != size)
        return fail_input("{}: has {} bytes, and the snapshot's memory {}: it was cut or replaced", path,
                          status.st_size, size);
    return file;
}

Result<> MemoryFile::read(std::span<std::byte> into, std::uint64_t offset) const {
    while (!into.empty()) {
        const ssize_t got = ::pread(fd.get(), into.data(), into.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(errno, "{}: cannot be read", path);
        if (got == 0) return fail_input("{}: it ends too early", path);
        into = into.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return {};
}

Result<MemoryFile::Extent> MemoryFile::next_data(std::uint64_t from, std::uint64_t end) const {
    const off_t data = ::lseek(fd.get(), static_cast<off_t>(from), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return Extent{.begin = end, .end = end};
    if (data < 0) return fail_errno(errno, "{}: cannot be read", path);
    const off_t hole = ::lseek(fd.get(), data, SEEK_HOLE);
    if (hole < 0) return fail_errno(errno, "{}: cannot be read", path);
    return Extent{.begin = std::clamp(align_down(static_cast<std::uint64_t>(data), kPageSize), from, end),
                  .end = std::clamp(align_up(static_cast<std::uint64_t>(hole), kPageSize), from, end)};
}

}  // namespace hako::migration
