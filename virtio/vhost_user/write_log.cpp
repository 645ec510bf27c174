#include "virtio/vhost_user/write_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "vmm/base/units.h"

namespace hako::virtio::vhost_user {
namespace {

constexpr std::uint64_t kPagesPerWord = 64;

}  // namespace

Result<WriteLog> WriteLog::create(const GuestMemory& memory) {
    const std::uint64_t pages = (memory.end().value + kPageSize - 1) / kPageSize;
    // Whole pages, as those who map it like.
    const std::uint64_t size = align_up(pages / 8 + 1, kPageSize);
    const std::uint64_t words = size / sizeof(std::uint64_t);
    Fd fd(::memfd_create("hako-vhost-log", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd.valid()) return fail_errno(errno, "memfd_create");
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0 ||
        ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return fail_errno(errno, "the log of a daemon's writes, {} bytes", size);
    void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (at == MAP_FAILED) return fail_errno(errno, "mmap of {} bytes", size);
    return WriteLog(std::move(fd), {static_cast<std::uint64_t*>(at), words});
}

WriteLog::WriteLog(WriteLog&& other) noexcept
    : fd_(std::move(other.fd_)), words_(std::exchange(other.words_, {})) {}

WriteLog::~WriteLog() {
    if (!words_.empty()) ::munmap(words_.data(), words_.size_bytes());
}

void WriteLog::take_into(GuestMemory& memory) {
    for (const MemoryRegion& region : memory.regions()) {
        const std::uint64_t first = region.base.value / kPageSize;
        const std::uint64_t last = first + region.size / kPageSize;
        // Regions begin and end at whole words: they are of whole MiB.
        for (std::uint64_t word = first / kPagesPerWord;
             word < std::min<std::uint64_t>((last + kPagesPerWord - 1) / kPagesPerWord, words_.size());
             ++word) {
            const std::atomic_ref<std::uint64_t> shared(words_[word]);
            if (shared.load(std::memory_order_relaxed) == 0) continue;
            for (std::uint64_t bits = shared.exchange(0, std::memory_order_acquire); bits != 0;
                 bits &= bits - 1) {
                const std::uint64_t page =
                    word * kPagesPerWord + static_cast<unsigned>(std::countr_zero(bits));
                if (page >= first && page < last)
                    memory.mark_dirty(GuestAddress{page * kPageSize}, kPageSize);
            }
        }
    }
}

}  // namespace hako::virtio::vhost_user
