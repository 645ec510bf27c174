#include "vmm/memory/guest_memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "vmm/memory/layout.h"
#include "vmm/memory/pagemap.h"

namespace hako {
namespace {

Result<Fd> make_memfd(const MemoryConfig& config) {
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (config.hugepages) {
        flags |= MFD_HUGETLB;
        if (config.hugepage_size != 0) {
            if (!std::has_single_bit(config.hugepage_size))
                return fail_input("hugepage size {} is not a power of two", config.hugepage_size);
            flags |= static_cast<unsigned>(std::countr_zero(config.hugepage_size)) << MFD_HUGE_SHIFT;
        }
    }
    Fd fd(::memfd_create("hako-ram", flags));
    if (!fd.valid())
        return fail_errno(errno, "cannot create guest memory{}",
                          config.hugepages ? " of this huge page size" : "");
    if (::ftruncate(fd.get(), static_cast<off_t>(config.size + config.room)) != 0)
        return fail_errno(errno, "cannot size guest memory to {}", format_size(config.size));
    // The size is fixed from here on: a shrunk file would turn guest accesses into SIGBUS.
    if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        return fail_errno(errno, "cannot seal guest memory");
    return fd;
}

Result<> check_size(const MemoryConfig& config) {
    if (config.size < kMinMemory || config.size > kMaxMemory)
        return fail_input("memory size {}: give between {} and {}", format_size(config.size),
                          format_size(kMinMemory), format_size(kMaxMemory));
    if (!is_aligned(config.size, MiB))
        return fail_input("memory size {}: give a multiple of 1 MiB", format_size(config.size));
    if (config.room > kMaxMemory - config.size || config.plugged > config.room)
        return fail_input("memory that may grow by {}, {} of it plugged: give less", format_size(config.room),
                          format_size(config.plugged));
    if (!is_aligned(config.room, layout::kMemoryUnit))
        return fail_input("memory may grow by a multiple of {}, not {}", format_size(layout::kMemoryUnit),
                          format_size(config.room));
    const bool blocks = config.growth == MemoryGrowth::kVirtioMem;
    const std::uint64_t step = blocks ? config.block_size() : layout::kMemoryUnit;
    if (!is_aligned(config.plugged, step) || (blocks && !is_aligned(config.room, step)))
        return fail_input("memory grows in steps of {}: not {} of {}", format_size(step),
                          format_size(config.plugged), format_size(config.room));
    return {};
}

}  // namespace

Result<GuestMemory> GuestMemory::create(const MemoryConfig& config) {
    HAKO_TRY(check_size(config));
    return create(config, HAKO_TRY(make_memfd(config)), false);
}

Result<GuestMemory> GuestMemory::map(const MemoryConfig& config, Fd file) {
    HAKO_TRY(check_size(config));
    if (config.hugepages) return fail_input("memory that is mapped from a file cannot have huge pages");
    return create(config, std::move(file), true);
}

Result<GuestMemory> GuestMemory::adopt(const MemoryConfig& config, Fd memfd) {
    HAKO_TRY(check_size(config));
    const int seals = ::fcntl(memfd.get(), F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
        return fail_input("the guest memory that was handed over is no memory file that keeps its size");
    struct stat status{};
    if (::fstat(memfd.get(), &status) != 0) return fail_errno(errno, "guest memory");
    if (static_cast<std::uint64_t>(status.st_size) != config.size + config.room)
        return fail_input("{} of guest memory were handed over, the VM has {}",
                          format_size(static_cast<std::uint64_t>(status.st_size)),
                          format_size(config.size + config.room));
    return create(config, std::move(memfd), false);
}

Result<GuestMemory> GuestMemory::create(const MemoryConfig& config, Fd file, bool is_private) {
    GuestMemory memory;
    memory.size_ = config.size;
    memory.fd_ = std::move(file);
    memory.private_ = is_private;
    memory.thp_ = config.thp && !config.hugepages;
    // Blocks are populated when they are plugged.
    memory.prefault_ = config.prefault && config.growth == MemoryGrowth::kAcpi;
    memory.tracking_ = std::make_unique<std::atomic<bool>>(false);

    const std::uint64_t low = std::min(config.size, layout::kRamHole);
    const auto add_region = [&](std::uint64_t base, std::uint64_t size, std::uint64_t offset) -> Result<> {
        void* host = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                            (is_private ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE, memory.fd_.get(),
                            static_cast<off_t>(offset));
        if (host == MAP_FAILED)
            return fail_errno(errno, "cannot map {} of guest memory{}", format_size(size),
                              config.hugepages ? " (reserve huge pages: sysctl vm.nr_hugepages)" : "");
        memory.regions_.push_back({GuestAddress{base}, size, static_cast<std::byte*>(host), offset});
        ++memory.fixed_;
        memory.advise(memory.regions_.back().host, size);
        if (config.prefault && ::madvise(host, size, MADV_POPULATE_WRITE) != 0)
            return fail_errno(errno, "cannot prefault {} of guest memory", format_size(size));
        return {};
    };
    HAKO_TRY(add_region(0, low, 0));
    if (config.size > low) HAKO_TRY(add_region(layout::kHighRam, config.size - low, low));
    if (config.room > 0) HAKO_TRY(memory.map_room(config));
    memory.show_plugged();
    if (config.mapped() > config.size) HAKO_TRY(memory.set_plugged(config.mapped() - config.size));
    if (config.room > 0 && config.growth == MemoryGrowth::kVirtioMem)
        memory.blocks_ = std::make_unique<PluggedBlocks>(config.room, config.block_size());
    return memory;
}

GuestMemory::~GuestMemory() {
    attendant_.reset();
    for (const MemoryRegion& region : std::span(regions_).first(std::min(fixed_, regions_.size())))
        ::munmap(region.host, region.size);
    if (room_) ::munmap(room_->host, room_->size);
}

/// All of it at once, so that what is plugged never moves. It takes no memory before it is touched.
Result<> GuestMemory::map_room(const MemoryConfig& config) {
    const int flags = private_ ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void* const host = ::mmap(nullptr, config.room, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE,
                              private_ ? -1 : fd_.get(), private_ ? 0 : static_cast<off_t>(config.size));
    if (host == MAP_FAILED)
        return fail_errno(errno, "cannot map {} for guest memory to grow", format_size(config.room));
    room_ =
        std::make_unique<MemoryRegion>(MemoryRegion{.base = GuestAddress{layout::memory_room(config.size)},
                                                    .size = config.room,
                                                    .host = static_cast<std::byte*>(host),
                                                    .file_offset = config.size});
    // What is plugged of private memory is in the file, and nothing else is.
    const std::uint64_t saved = config.mapped() - config.size;
    if (private_ && saved > 0 &&
        ::mmap(host, saved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd_.get(),
               static_cast<off_t>(config.size)) == MAP_FAILED)
        return fail_errno(errno, "cannot map {} of plugged guest memory", format_size(saved));
    advise(room_->host, room_->size);
    return {};
}

/// Hints: hosts without THP for shared memory refuse it, and that is no loss of function.
void GuestMemory::advise(std::byte* host, std::uint64_t size) const {
    if (thp_) ::madvise(host, size, MADV_HUGEPAGE);
    ::madvise(host, size, MADV_DONTDUMP);
}

void GuestMemory::show_plugged() {
    regions_.resize(fixed_);
    if (plugged_ > 0) {
        regions_.push_back(*room_);
        regions_.back().size = plugged_;
    }
    dirty_.clear();
    dirty_.resize(regions_.size());
    // It knew the pages of a region of another size; a page that it no longer knows is only mapped once more.
    if (anonymous_.size() > fixed_) anonymous_.resize(fixed_);
}

GuestAddress GuestMemory::end() const {
    const MemoryRegion& last = room_ ? *room_ : regions_.back();
    return last.base + last.size;
}

Result<> GuestMemory::set_plugged(std::uint64_t bytes) {
    const std::uint64_t room = room_ ? room_->size : 0;
    if (bytes > room)
        return fail_input("guest memory can grow by {}, not by {}", format_size(room), format_size(bytes));
    if (prefault_ && bytes > plugged_ &&
        ::madvise(room_->host + plugged_, bytes - plugged_, MADV_POPULATE_WRITE) != 0)
        return fail_errno(errno, "cannot prefault {} of guest memory", format_size(bytes - plugged_));
    const std::uint64_t before = std::exchange(plugged_, bytes);
    show_plugged();
    if (bytes < before) return discard_room(bytes, before - bytes);
    return {};
}

Result<> GuestMemory::discard_room(std::uint64_t offset, std::uint64_t length) {
    if (!room_ || offset > room_->size || length > room_->size - offset || length == 0) return {};
    std::byte* const host = room_->host + offset;
    if (private_) {
        if (!map_zeros(host, length))
            return fail_errno(errno, "cannot give back {} of guest memory", format_size(length));
        advise(host, length);
    } else if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           static_cast<off_t>(room_->file_offset + offset),
                           static_cast<off_t>(length)) != 0) {
        return fail_errno(errno, "cannot give back {} of guest memory", format_size(length));
    }
    // It is zeros now.
    if (offset < plugged_) mark_dirty(room_->base + offset, std::min(length, plugged_ - offset));
    return {};
}

std::byte* GuestMemory::find(GuestAddress address, std::uint64_t length) const {
    for (const MemoryRegion& region : regions_) {
        if (address < region.base) continue;
        const std::uint64_t offset = address.value - region.base.value;
        if (offset <= region.size && length <= region.size - offset) return region.host + offset;
    }
    return nullptr;
}

std::optional<std::span<const std::byte>> GuestMemory::readable(GuestAddress address,
                                                                std::uint64_t length) const {
    const std::byte* host = find(address, length);
    if (host == nullptr) return std::nullopt;
    return std::span(host, length);
}

std::optional<std::span<std::byte>> GuestMemory::writable(GuestAddress address, std::uint64_t length) {
    const auto bytes = writable_later(address, length);
    if (bytes) mark_dirty(address, length);
    return bytes;
}

std::optional<std::span<std::byte>> GuestMemory::writable_later(GuestAddress address, std::uint64_t length) {
    std::byte* host = find(address, length);
    if (host == nullptr) return std::nullopt;
    return std::span(host, length);
}

void GuestMemory::mark_dirty(GuestAddress address, std::uint64_t length) {
    if (!tracking()) return;
    for (std::size_t i = 0; i < regions_.size(); ++i) {
        const MemoryRegion& region = regions_[i];
        if (address < region.base || address.value - region.base.value >= region.size) continue;
        const std::uint64_t offset = address.value - region.base.value;
        dirty_[i]->mark(offset, std::min(length, region.size - offset));
    }
}

bool GuestMemory::write(GuestAddress address, std::span<const std::byte> data) {
    const auto bytes = writable_later(address, data.size());
    if (!bytes) return false;
    std::ranges::copy(data, bytes->begin());
    mark_dirty(address, data.size());
    return true;
}

bool GuestMemory::read(GuestAddress address, std::span<std::byte> data) const {
    const auto bytes = readable(address, data.size());
    if (!bytes) return false;
    std::ranges::copy(*bytes, data.begin());
    return true;
}

/// Pages of private memory that are not the file's any more. If that cannot be known: all.
void GuestMemory::add_written(const MemoryRegion& region, std::vector<std::uint64_t>& bits) {
    const Result<Pagemap> pagemap = Pagemap::open();
    std::vector<PageEntry> entries(MiB / kPageSize);  // regions are whole MiB
    for (std::uint64_t offset = 0; offset < region.size; offset += MiB) {
        const bool known = pagemap && pagemap->read(region.host + offset, entries);
        for (std::size_t i = 0; i < entries.size(); ++i) {
            const std::uint64_t page = offset / kPageSize + i;
            if (!known || entries[i].own()) bits[page / 64] |= std::uint64_t{1} << page % 64;
        }
    }
}

std::vector<std::vector<std::uint64_t>> GuestMemory::touched() const {
    std::vector<std::vector<std::uint64_t>> bits;
    for (const MemoryRegion& region : regions_) {
        auto& words = bits.emplace_back((region.size / kPageSize + 63) / 64);
        const std::uint64_t end = region.file_offset + region.size;
        for (std::uint64_t at = region.file_offset; at < end;) {
            const off_t data = ::lseek(fd_.get(), static_cast<off_t>(at), SEEK_DATA);
            if (data < 0 && errno == ENXIO) break;  // holes to the end
            const off_t hole = data < 0 ? -1 : ::lseek(fd_.get(), data, SEEK_HOLE);
            const std::uint64_t from = data < 0 ? at : std::min(static_cast<std::uint64_t>(data), end);
            const std::uint64_t to = hole < 0 ? end : std::min(static_cast<std::uint64_t>(hole), end);
            for (std::uint64_t page = (from - region.file_offset) / kPageSize;
                 page < (to - region.file_offset + kPageSize - 1) / kPageSize; ++page)
                words[page / 64] |= std::uint64_t{1} << page % 64;
            at = to;
        }
        if (private_) add_written(region, words);
    }
    if (blocks_) blocks_->drop_unplugged(bits.back());
    return bits;
}

void GuestMemory::start_dirty_tracking() {
    for (std::size_t i = 0; i < regions_.size(); ++i) {
        if (!dirty_[i]) dirty_[i] = std::make_unique<DirtyBitmap>(regions_[i].size);
        for (std::size_t word = 0; word < dirty_[i]->words(); ++word)
            dirty_[i]->take(word);
    }
    tracking_->store(true, std::memory_order_release);
}

void GuestMemory::stop_dirty_tracking() {
    // The bitmaps stay: somebody may be in the middle of marking.
    tracking_->store(false, std::memory_order_release);
}

DirtyBitmap* GuestMemory::dirty_bitmap(std::size_t index) {
    return tracking() ? dirty_.at(index).get() : nullptr;
}

}  // namespace hako
