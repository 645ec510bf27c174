#include "vmm/base/copy_file.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>

#include "vmm/base/units.h"

namespace hako {
namespace {

constexpr std::uint64_t kPiece = 4 * MiB;

struct Copier {
    int from;
    int to;
    bool in_kernel = true;                ///< until it says that it does not
    std::unique_ptr<std::byte[]> buffer;  ///< when it does not

    Result<std::uint64_t> copy(std::uint64_t at, std::uint64_t length) {
        if (in_kernel) {
            auto source = static_cast<off_t>(at);
            auto target = static_cast<off_t>(at);
            const ssize_t done = ::copy_file_range(from, &source, to, &target, length, 0);
            if (done > 0) return static_cast<std::uint64_t>(done);
            if (done < 0 && errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
                return fail_errno(errno, "cannot be copied");
            in_kernel = false;
            buffer = std::make_unique<std::byte[]>(kPiece);
        }
        const ssize_t got = ::pread(from, buffer.get(), length, static_cast<off_t>(at));
        if (got < 0) return fail_errno(errno, "cannot be read");
        if (got == 0) return fail_host("it ends too early");
        HAKO_TRY(write_at(to, std::span(buffer.get(), static_cast<std::size_t>(got)), at));
        return static_cast<std::uint64_t>(got);
    }
};

}  // namespace

Result<> write_at(int to, std::span<const std::byte> data, std::uint64_t offset) {
    while (!data.empty()) {
        const ssize_t put = ::pwrite(to, data.data(), data.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return fail_errno(put == 0 ? ENOSPC : errno, "cannot be written");
        data = data.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return {};
}

bool share_blocks(int from, int to) {
    return ::ioctl(to, FICLONE, from) == 0;
}

Result<> copy_data(int from, int to, std::uint64_t size, const std::function<Result<>()>& go_on) {
    Copier copier{.from = from, .to = to, .buffer = nullptr};
    if (::ftruncate(to, static_cast<off_t>(size)) != 0) return fail_errno(errno, "cannot be sized");
    for (std::uint64_t at = 0; at < size;) {
        // A block device has no holes to tell of, and says EINVAL.
        const off_t data = ::lseek(from, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) break;
        const off_t hole = data < 0 ? -1 : ::lseek(from, data, SEEK_HOLE);
        if (data >= 0) at = static_cast<std::uint64_t>(data);
        const std::uint64_t end = hole < 0 ? size : std::min(size, static_cast<std::uint64_t>(hole));
        while (at < end) {
            HAKO_TRY(go_on());
            at += HAKO_TRY(copier.copy(at, std::min(kPiece, end - at)));
        }
    }
    return {};
}

}  // namespace hako
