#include "migration/disk/new_images.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

namespace hako::migration {
namespace {

bool same_file(const struct ::stat& a, const struct ::stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

Result<> sync_folder_of(const std::string& path) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    const Fd file(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!file.valid() || ::fsync(file.get()) != 0) return fail_errno(errno, "{}", folder.string());
    return {};
}

Result<> check_size(int image, const std::string& path, std::uint64_t bytes) {
    struct ::stat info{};
    if (::fstat(image, &info) != 0) return fail_errno(errno, "image {}", path);
    if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
        return fail_input("image {} is neither a file nor a block device", path);
    const off_t size = ::lseek(image, 0, SEEK_END);
    if (size < 0) return fail_errno(errno, "image {}", path);
    if (static_cast<std::uint64_t>(size) != bytes)
        return fail_input(
            "image {} is there and has {} bytes, the disk that comes has {}: remove it, or name another path",
            path, size, bytes);
    return {};
}

}  // namespace

bool same_file(int a, int b) {
    struct ::stat first{};
    struct ::stat second{};
    return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && same_file(first, second);
}

Result<TargetDisk> NewImages::open(const std::string& path, std::uint64_t bytes) {
    Fd made(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (made.valid()) {
        made_.push_back({.path = path});
        if (::fstat(made.get(), &made_.back().file) != 0) return fail_errno(errno, "image {}", path);
        if (::ftruncate(made.get(), static_cast<off_t>(bytes)) != 0)
            return fail_errno(errno, "image {} cannot have {} bytes", path, bytes);
        HAKO_TRY(sync_folder_of(path));
        return TargetDisk{.image = std::move(made), .name = path, .bytes = bytes, .fresh = true};
    }
    if (errno != EEXIST) return fail_input("image {} cannot be made: {}", path, errno_text(errno));
    Fd found(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!found.valid()) return fail_input("image {}: {}", path, errno_text(errno));
    HAKO_TRY(check_size(found.get(), path, bytes));
    return TargetDisk{.image = std::move(found), .name = path, .bytes = bytes};
}

void NewImages::remove() {
    for (const Made& one : std::exchange(made_, {})) {
        struct ::stat now{};
        if (::lstat(one.path.c_str(), &now) == 0 && same_file(now, one.file)) ::unlink(one.path.c_str());
    }
}

}  // namespace hako::migration
