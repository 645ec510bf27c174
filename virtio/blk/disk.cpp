#include "virtio/blk/disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <optional>

#include "virtio/blk/protocol.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

namespace hako::virtio::blk {
namespace {

/// The file behind an O_PATH descriptor, opened for I/O: the same one, whatever the path names by now.
Fd reopen(int path_fd, const std::string& path, int flags) {
    Fd file(::open(fmt::format("/proc/self/fd/{}", path_fd).c_str(), flags | O_CLOEXEC));
    if (file.valid() || errno != ENOENT) return file;
    return Fd(::open(path.c_str(), flags | O_CLOEXEC));  // no /proc here
}

std::unexpected<Error> explain_open_error(int error, const Config& config) {
    const std::string& path = config.path;
    switch (error) {
        case ENOENT:
        case ENOTDIR:
            return fail_input("image {} does not exist: check the path, or create one: truncate -s 10G {}",
                              path, path);
        case EACCES:
        case EPERM:
        case EROFS:
            if (config.readonly)
                return fail_input("image {} cannot be read, {}: give hako's user the right to", path,
                                  errno_text(error));
            return fail_input(
                "image {} cannot be opened for writing, {}: give hako's user the right to, or add readonly",
                path, errno_text(error));
        case EBUSY:
        case ETXTBSY:
            return fail_input("image {} is in use by this host, {}: free it first, or add readonly", path,
                              errno_text(error));
        default:
            return std::unexpected(
                Error(Fault::kInput, errno_text(error)).wrap(fmt::format("cannot open image {}", path)));
    }
}

/// What statx(2) says, if this kernel and file system say it. Offset alignment 0: no direct I/O.
std::optional<DirectAlignment> reported_alignment(int fd) {
    struct ::statx info{};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0) return std::nullopt;
    if ((info.stx_mask & STATX_DIOALIGN) == 0) return std::nullopt;
    return DirectAlignment{.memory = info.stx_dio_mem_align, .offset = info.stx_dio_offset_align};
}

/// Reads with falling alignment until one works: the kernel answers EINVAL to what it cannot do.
std::optional<DirectAlignment> tried_alignment(int fd) {
    constexpr std::size_t kLargest = 4096;
    const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(2 * kLargest, 2 * kLargest),
                                                             &std::free);
    if (!buffer) return std::nullopt;
    for (const std::uint32_t alignment : {std::uint32_t{512}, std::uint32_t{kLargest}}) {
        // An address that is a multiple of `alignment` and of nothing larger.
        if (::pread(fd, static_cast<std::byte*>(buffer.get()) + alignment, alignment, 0) >= 0)
            return DirectAlignment{.memory = alignment, .offset = alignment};
    }
    return std::nullopt;
}

bool usable(const DirectAlignment& alignment) {
    return std::has_single_bit(alignment.memory) && std::has_single_bit(alignment.offset) &&
           alignment.memory <= kPageSize && alignment.offset <= kPageSize;
}

template <typename Number>
std::uint32_t block_ioctl(int fd, unsigned long request, std::uint32_t otherwise) {
    Number value = 0;
    return ::ioctl(fd, request, &value) == 0 ? static_cast<std::uint32_t>(value) : otherwise;
}

}  // namespace

Result<Disk> Disk::open(const Config& config, Claim claim) {
    // O_PATH opens nothing yet: a FIFO does not block and a tape does not rewind.
    const Fd path_fd(::open(config.path.c_str(), O_PATH | O_CLOEXEC));
    if (!path_fd.valid()) return explain_open_error(errno, config);

    Disk disk;
    disk.name_ = config.path;
    disk.readonly_ = config.readonly;
    HAKO_TRY(disk.open_file(config, path_fd.get()));
    HAKO_TRY(disk.check_size());
    disk.lock_ = ImageLock(disk.buffered_.get(),
                           config.readonly ? ImageLock::Use::kRead : ImageLock::Use::kWrite, config.path);
    HAKO_TRY(claim == Claim::kOwn ? disk.lock_.acquire() : disk.lock_.announce());
    HAKO_TRY(disk.open_direct(config, path_fd.get()));
    HAKO_TRY(disk.read_topology());
    return disk;
}

Result<Disk> Disk::adopt(Fd file, std::string name) {
    struct ::stat info{};
    if (::fstat(file.get(), &info) != 0) return fail_errno(errno, "cannot look at image {}", name);
    if (!S_ISREG(info.st_mode)) return fail_input("image {} is no regular file", name);
    Disk disk;
    disk.name_ = std::move(name);
    disk.buffered_ = std::move(file);
    HAKO_TRY(disk.check_size());
    return disk;
}

Result<Disk> Disk::absent(bool readonly) {
    Fd file(::memfd_create("hako-absent", MFD_CLOEXEC));
    if (!file.valid() || ::ftruncate(file.get(), kSectorSize) != 0)
        return fail_errno(errno, "cannot make a stand-in for an image");
    Disk disk = HAKO_TRY(adopt(std::move(file), "an image that is gone"));
    disk.readonly_ = readonly;
    return disk;
}

Result<> Disk::open_file(const Config& config, int path_fd) {
    struct ::stat info{};
    if (::fstat(path_fd, &info) != 0) return explain_open_error(errno, config);
    if (S_ISDIR(info.st_mode))
        return fail_input("image {} is a directory: give a raw image file or a block device", config.path);
    block_device_ = S_ISBLK(info.st_mode);
    if (!S_ISREG(info.st_mode) && !block_device_)
        return fail_input("image {} is neither a file nor a block device: give one of these", config.path);

    // A device that this host has mounted or built an array of cannot be had exclusively; two hakos are told
    // apart by the lock, not by this, so the claim is dropped at once.
    if (block_device_ && !config.readonly && !reopen(path_fd, config.path, O_RDONLY | O_EXCL).valid() &&
        errno == EBUSY)
        return explain_open_error(EBUSY, config);

    buffered_ = reopen(path_fd, config.path, config.readonly ? O_RDONLY : O_RDWR);
    if (!buffered_.valid()) return explain_open_error(errno, config);
    return {};
}

Result<> Disk::open_direct(const Config& config, int path_fd) {
    if (config.direct && !*config.direct) return {};
    Fd file = reopen(path_fd, config.path, (config.readonly ? O_RDONLY : O_RDWR) | O_DIRECT);
    if (file.valid()) {
        std::optional<DirectAlignment> alignment = reported_alignment(file.get());
        if (!alignment && block_device_) {
            const auto block = block_ioctl<int>(file.get(), BLKSSZGET, 512);
            alignment = DirectAlignment{.memory = block, .offset = block};
        }
        if (!alignment) alignment = tried_alignment(file.get());
        if (alignment && usable(*alignment)) {
            direct_ = std::move(file);
            direct_alignment_ = *alignment;
            return {};
        }
    }
    if (config.direct && *config.direct)
        return fail_input(
            "image {} cannot be used with direct I/O, its file system does not offer it: leave out direct",
            config.path);
    return {};
}

Result<> Disk::read_topology() {
    const int fd = buffered_.get();
    if (block_device_) {
        topology_.logical_block = block_ioctl<int>(fd, BLKSSZGET, 512);
        topology_.physical_block = block_ioctl<unsigned>(fd, BLKPBSZGET, topology_.logical_block);
        topology_.minimum_io = block_ioctl<unsigned>(fd, BLKIOMIN, 0);
        topology_.optimal_io = block_ioctl<unsigned>(fd, BLKIOOPT, 0);
        return {};
    }
    // A file's sectors stay 512 bytes whatever it lies on: partition tables count in them, and a file moves.
    // What the file system writes at once is told as the physical block, so that guests align to it.
    struct ::stat info{};
    if (::fstat(fd, &info) != 0) return fail_errno(errno, "cannot look at image {}", name_);
    const auto block =
        std::bit_floor(static_cast<std::uint32_t>(std::clamp<long>(info.st_blksize, 512, 4096)));
    topology_.logical_block = 512;
    topology_.physical_block = std::max(block, direct_.valid() ? direct_alignment_.offset : 512);
    topology_.minimum_io = topology_.physical_block;
    return {};
}

Result<> Disk::check_size() const {
    struct ::stat info{};
    if (::fstat(buffered_.get(), &info) != 0) return fail_errno(errno, "cannot look at image {}", name_);
    if (HAKO_TRY(capacity()) == 0)
        return fail_input("image {} is empty ({} bytes): give it a size, e.g. truncate -s 10G {}", name_,
                          static_cast<std::int64_t>(info.st_size), name_);
    if (!block_device_ && info.st_size % static_cast<off_t>(kSectorSize) != 0)
        log_warn("image {}: its size is no multiple of {} bytes; the guest does not see the last {}", name_,
                 kSectorSize, info.st_size % static_cast<off_t>(kSectorSize));
    return {};
}

Result<std::uint64_t> Disk::capacity() const {
    std::uint64_t bytes = 0;
    if (block_device_) {
        if (::ioctl(buffered_.get(), BLKGETSIZE64, &bytes) != 0)
            return fail_errno(errno, "cannot tell the size of {}", name_);
    } else {
        struct ::stat info{};
        if (::fstat(buffered_.get(), &info) != 0)
            return fail_errno(errno, "cannot tell the size of {}", name_);
        bytes = static_cast<std::uint64_t>(info.st_size);
    }
    return bytes / kSectorSize;
}

Result<> Disk::flush() const {
    if (readonly_) return {};
    if (::fdatasync(buffered_.get()) != 0) return fail_errno(errno, "{}: cannot be flushed", name_);
    return {};
}

Result<> Disk::grow(std::uint64_t bytes) const {
    if (readonly_) return fail_input("image {} is read-only: it keeps its size", name_);
    if (block_device_)
        return fail_input("{} is a block device: resize it with its own tools, and the guest is told", name_);
    if (bytes % kSectorSize != 0 || bytes > std::numeric_limits<std::int64_t>::max())
        return fail_input("image {}: a size of whole {}-byte sectors is wanted, not {} bytes", name_,
                          kSectorSize, bytes);
    const std::uint64_t now = HAKO_TRY(capacity()) * kSectorSize;
    if (bytes < now)
        return fail_input("image {} has {} bytes: it may grow, but {} bytes would cut off what is there",
                          name_, now, bytes);
    if (::ftruncate(buffered_.get(), static_cast<off_t>(bytes)) != 0)
        return fail_errno(errno, "image {} cannot grow to {} bytes", name_, bytes);
    return {};
}

}  // namespace hako::virtio::blk
