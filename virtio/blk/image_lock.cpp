#include "virtio/blk/image_lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "vmm/base/log.h"

namespace hako::virtio::blk {
namespace {

constexpr long kIntent = 101;
constexpr long kOwner = 201;

struct ::flock one_byte(short type, long offset) {
    struct ::flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = offset;
    lock.l_len = 1;
    return lock;
}

/// The process that holds a lock on the file, for the message only: OFD locks do not tell, /proc does.
std::optional<int> find_holder(int fd) {
    struct ::stat wanted{};
    if (::fstat(fd, &wanted) != 0) return std::nullopt;
    std::error_code error;
    for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
        const int pid = std::atoi(process.path().filename().c_str());
        if (pid <= 0) continue;
        for (const auto& file : std::filesystem::directory_iterator(process.path() / "fd", error)) {
            struct ::stat found{};
            if (::stat(file.path().c_str(), &found) != 0) continue;
            if (found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino ||
                found.st_rdev != wanted.st_rdev)
                continue;
            std::ifstream info(process.path() / "fdinfo" / file.path().filename());
            const std::string text((std::istreambuf_iterator<char>(info)), {});
            if (text.find("lock:") != std::string::npos) return pid;
        }
    }
    return std::nullopt;
}

std::unexpected<Error> in_use(int fd, const std::string& name) {
    const auto pid = find_holder(fd);
    return fail_input("image {} is in use by another process{}: stop it first, or give this VM its own copy",
                      name, pid ? fmt::format(" (pid {})", *pid) : "");
}

}  // namespace

Result<> ImageLock::acquire() {
    HAKO_TRY(announce());
    return own();
}

Result<> ImageLock::announce() {
    if (fd_ < 0) return {};
    if (use_ == Use::kWrite) return lock(F_WRLCK, kIntent);
    struct ::flock held = one_byte(F_WRLCK, kIntent);
    if (::fcntl(fd_, F_OFD_GETLK, &held) == 0 && held.l_type != F_UNLCK) return in_use(fd_, name_);
    return {};
}

Result<> ImageLock::own() {
    if (fd_ < 0) return {};
    Result<> owned = lock(use_ == Use::kWrite ? short{F_WRLCK} : short{F_RDLCK}, kOwner);
    unlock(kIntent);
    return owned;
}

void ImageLock::release() {
    unlock(kIntent);
    unlock(kOwner);
}

Result<> ImageLock::lock(short type, long offset) {
    struct ::flock wanted = one_byte(type, offset);
    if (::fcntl(fd_, F_OFD_SETLK, &wanted) == 0) return {};
    const int error = errno;
    if (error == EAGAIN || error == EACCES) return in_use(fd_, name_);
    if (error == ENOLCK || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL) {
        log_warn("image {}: its file system has no locks; nothing keeps another process off it", name_);
        return {};
    }
    return fail_errno(error, "cannot lock image {}", name_);
}

void ImageLock::unlock(long offset) {
    if (fd_ < 0) return;
    struct ::flock wanted = one_byte(F_UNLCK, offset);
    ::fcntl(fd_, F_OFD_SETLK, &wanted);
}

}  // namespace hako::virtio::blk
