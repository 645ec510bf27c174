// How guest memory gives pages back to the host.
#include <fcntl.h>
#include <sys/mman.h>

#include "vmm/memory/guest_memory.h"

namespace hako {
namespace {

/// Of one region that is mapped from a file; see AnonymousPages.
constexpr std::size_t kMaxEdges = 16 * 1024;

}  // namespace

bool GuestMemory::discard(GuestAddress address, std::uint64_t length) {
    if (discard_gate_->closed() || !is_aligned(address.value, kPageSize) || !is_aligned(length, kPageSize) ||
        !readable(address, length))
        return false;
    std::size_t index = 0;
    while (regions_[index].base.value + regions_[index].size < address.value + length)
        ++index;
    const MemoryRegion& region = regions_[index];
    const std::uint64_t offset = address.value - region.base.value;
    // A hole in the file is one for all who map it: for a daemon that serves a device, too.
    const bool gone = private_ ? discard_private(index, offset, length)
                               : ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                             static_cast<off_t>(region.file_offset + offset),
                                             static_cast<off_t>(length)) == 0;
    // Afterwards: who has read the old content reads again.
    if (gone) mark_dirty(address, length);
    return gone;
}

bool GuestMemory::populate(GuestAddress address, std::uint64_t length) {
    const auto bytes = writable_later(address, length);
    return bytes && ::madvise(bytes->data(), bytes->size(), MADV_POPULATE_WRITE) == 0;
}

/// A private page that is dropped would be the file's again: one of zeros takes its place, and takes no
/// memory before it is touched. errno says why it could not.
bool GuestMemory::map_zeros(std::byte* host, std::uint64_t length) {
    return ::mmap(host, length, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/// No large pages there: they would fill up what was just given back.
bool GuestMemory::discard_private(std::size_t index, std::uint64_t offset, std::uint64_t length) {
    if (anonymous_.size() < regions_.size()) anonymous_.resize(regions_.size());
    const MemoryRegion& region = regions_[index];
    std::unique_ptr<AnonymousPages>& anonymous = anonymous_[index];
    if (!anonymous) anonymous = std::make_unique<AnonymousPages>(region.size / kPageSize);
    const std::uint64_t first = offset / kPageSize;
    const std::uint64_t count = length / kPageSize;
    if (anonymous->cover(first, count)) return ::madvise(region.host + offset, length, MADV_DONTNEED) == 0;
    if (anonymous->edges_with(first, count) > kMaxEdges) return false;
    if (!map_zeros(region.host + offset, length)) return false;
    ::madvise(region.host + offset, length, MADV_DONTDUMP);
    anonymous->add(first, count);
    return true;
}

}  // namespace hako
