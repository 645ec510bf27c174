#include "migration/snapshot/disk_copies.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "vmm/base/copy_file.h"

namespace hako::migration {
namespace {

Result<> copy(int from, int to, const std::function<Result<>()>& go_on) {
    const off_t size = ::lseek(from, 0, SEEK_END);  // of a block device, too
    if (size < 0) return fail_errno(errno, "cannot be read");
    return copy_data(from, to, static_cast<std::uint64_t>(size), go_on);
}

}  // namespace

void DiskCopies::remove() {
    for (const File& file : files_)
        ::unlink(file.wanted.path.c_str());
    files_.clear();
}

Result<> DiskCopies::add(const DiskCopy& wanted, Fd image) {
    Fd file(::open(wanted.path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid())
        return fail_input("the copy of disk {}: {}: {}", wanted.id, wanted.path, errno_text(errno));
    files_.push_back({.wanted = wanted, .image = std::move(image), .file = std::move(file)});
    return {};
}

Result<> DiskCopies::make(std::chrono::steady_clock::time_point deadline,
                          const std::function<Result<>()>& go_on) {
    const auto in_time = [&]() -> Result<> {
        if (std::chrono::steady_clock::now() >= deadline)
            return fail_host(
                "it took too long, and the guest waited: it goes on without a snapshot (hold_ms)");
        return go_on();
    };
    for (const File& file : files_) {
        HAKO_TRY_WRAP(in_time(), "the copy of disk {}", file.wanted.id);
        if (share_blocks(file.image.get(), file.file.get())) continue;
        if (!file.wanted.copy)
            return fail_input(
                "disk {}: {} cannot share its blocks: name a place on the same file system, if that "
                "has reflinks, or ask for a \"copy\", for which the guest waits",
                file.wanted.id, file.wanted.path);
        HAKO_TRY_WRAP(copy(file.image.get(), file.file.get(), in_time), "the copy of disk {}, {}",
                      file.wanted.id, file.wanted.path);
    }
    return {};
}

Result<> DiskCopies::sync() {
    for (const File& file : files_)
        if (::fdatasync(file.file.get()) != 0)
            return fail_errno(errno, "the copy of disk {}, {}: cannot be written", file.wanted.id,
                              file.wanted.path);
    return {};
}

}  // namespace hako::migration
