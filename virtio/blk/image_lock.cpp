#include "virtio/blk/image_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "vmm/base/log.h"

namespace hako::virtio::blk {
namespace {

constexpr long kIntent = 101;
constexpr long kOwner = 201;

/// How long a lock that no living process holds is waited for.
constexpr std::chrono::milliseconds kPatience{2000};
constexpr std::chrono::milliseconds kRetryInterval{10};

struct ::flock one_byte(short type, long offset) {
    struct ::flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = offset;
    lock.l_len = 1;
    return lock;
}

/// Calls `visit(path)` for the entries of a directory until it returns true. Processes come and go meanwhile.
template <typename Visit>
void visit_entries(const std::filesystem::path& directory, Visit visit) {
    std::error_code error;
    for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
        if (visit(at->path())) return;
    }
}

/// A process that holds a lock on the file (on that byte of it, if one is named): OFD locks do not tell,
/// /proc does.
std::optional<int> find_holder(int fd, std::optional<long> byte = std::nullopt) {
    struct ::stat wanted{};
    if (::fstat(fd, &wanted) != 0) return std::nullopt;
    std::optional<int> holder;
    visit_entries("/proc", [&](const std::filesystem::path& process) {
        const int pid = std::atoi(process.filename().c_str());
        if (pid <= 0) return false;
        visit_entries(process / "fd", [&](const std::filesystem::path& file) {
            if (pid == ::getpid() && std::atoi(file.filename().c_str()) == fd)
                return false;  // our own INTENT
            struct ::stat found{};
            if (::stat(file.c_str(), &found) != 0) return false;
            if (found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino) return false;
            std::ifstream info(process / "fdinfo" / file.filename());
            const std::string text((std::istreambuf_iterator<char>(info)), {});
            // "lock:\t1: OFDLCK  ADVISORY  WRITE -1 08:01:77 101 101": it ends in the first and the last
            // byte.
            const std::string range = byte ? fmt::format(" {0} {0}\n", *byte) : "lock:";
            if (text.find(range) != std::string::npos) holder = pid;
            return holder.has_value();
        });
        return holder.has_value();
    });
    return holder;
}

}  // namespace

Result<> ImageLock::acquire() {
    HAKO_TRY(announce());
    return own();
}

Result<> ImageLock::announce() {
    if (fd_ < 0) return {};
    if (use_ == Use::kWrite) return explain(lock(F_WRLCK, kIntent));
    struct ::flock held = one_byte(F_WRLCK, kIntent);
    if (::fcntl(fd_, F_OFD_GETLK, &held) == 0 && held.l_type != F_UNLCK) return explain(EAGAIN);
    return {};
}

Result<> ImageLock::own() {
    if (fd_ < 0) return {};
    const int error = lock(use_ == Use::kWrite ? short{F_WRLCK} : short{F_RDLCK}, kOwner);
    unlock(kIntent);  // before the holder is looked for: that is not us
    return explain(error);
}

void ImageLock::release() {
    unlock(kIntent);
    unlock(kOwner);
}

int ImageLock::lock(short type, long offset) {
    // A process that was killed holds its images until its last request is done, shortly after it is gone
    // from /proc. Whoever restarts the VM at once should not be told of a process that is no more.
    const auto patience = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
        struct ::flock wanted = one_byte(type, offset);
        if (::fcntl(fd_, F_OFD_SETLK, &wanted) == 0) return 0;
        if (errno != EAGAIN && errno != EACCES) return errno;
        // Nor of one that lives and holds the other byte.
        if (find_holder(fd_, offset) || std::chrono::steady_clock::now() >= patience) return EAGAIN;
        std::this_thread::sleep_for(kRetryInterval);
    }
}

Result<> ImageLock::explain(int error) const {
    switch (error) {
        case 0:
            return {};
        case EAGAIN:
        case EACCES: {
            const auto pid = find_holder(fd_);
            return fail_input(
                "image {} is in use by another process{}: stop it first, or give this VM its own copy", name_,
                pid ? fmt::format(" (pid {})", *pid) : "");
        }
        case ENOLCK:
        case EOPNOTSUPP:
        case ENOSYS:
        case EINVAL:
            log_warn("image {}: its file system has no locks; nothing keeps another process off it", name_);
            return {};
        default:
            return fail_errno(error, "cannot lock image {}", name_);
    }
}

void ImageLock::unlock(long offset) {
    if (fd_ < 0) return;
    struct ::flock wanted = one_byte(F_UNLCK, offset);
    ::fcntl(fd_, F_OFD_SETLK, &wanted);
}

}  // namespace hako::virtio::blk
