// The guest's RAM: regions of a file, mostly a memfd, mapped into hako, and the only way to reach them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/memory/anonymous_pages.h"
#include "vmm/memory/attendant.h"
#include "vmm/memory/dirty_bitmap.h"
#include "vmm/memory/discard_gate.h"
#include "vmm/memory/guest_address.h"
#include "vmm/memory/plugged_blocks.h"

namespace hako {

/// How memory grows.
enum class MemoryGrowth : std::uint8_t {
    kAcpi,       ///< in pieces, from the start of the room on: there is memory as far as they reach
    kVirtioMem,  ///< in blocks, anywhere in the room: all of it is there, and PluggedBlocks tells who uses
                 ///< what
};

struct MemoryConfig {
    std::uint64_t size = 512 * MiB;  ///< bytes, a multiple of 1 MiB
    std::uint64_t room = 0;          ///< bytes that it may grow by, a multiple of layout::kMemoryUnit
    /// Bytes of the room that are taken, a multiple of layout::kMemoryUnit. kVirtioMem: that the guest is to
    /// take, a multiple of block_size().
    std::uint64_t plugged = 0;
    MemoryGrowth growth = MemoryGrowth::kAcpi;
    bool hugepages = false;           ///< hugetlbfs pages (memfd MFD_HUGETLB)
    std::uint64_t hugepage_size = 0;  ///< bytes, 0: the host's default size
    bool thp = true;                  ///< ask for transparent huge pages (MADV_HUGEPAGE)
    bool prefault = false;            ///< populate all pages before the guest runs

    /// What the guest has, or is to have.
    [[nodiscard]] std::uint64_t total() const { return size + plugged; }
    /// What is in the regions of its memory, and in a file of its memory.
    [[nodiscard]] std::uint64_t mapped() const {
        return size + (growth == MemoryGrowth::kVirtioMem ? room : plugged);
    }
    /// Of kVirtioMem: no page of the host's is part of two blocks.
    [[nodiscard]] std::uint64_t block_size() const {
        return hugepages && hugepage_size > 2 * MiB ? hugepage_size : 2 * MiB;
    }
};

/// Smallest and largest RAM that hako gives a guest, bytes.
inline constexpr std::uint64_t kMinMemory = 1 * MiB;
inline constexpr std::uint64_t kMaxMemory = 16384 * GiB;

/// One contiguous piece of guest RAM.
struct MemoryRegion {
    GuestAddress base;
    std::uint64_t size = 0;
    std::byte* host = nullptr;      ///< where it is mapped
    std::uint64_t file_offset = 0;  ///< where it starts in the memfd
};

/// Guest RAM in one file. Regions: [0, 3 GiB), from 4 GiB up, and what is plugged of the room to grow, or all
/// of it (MemoryGrowth; vmm/memory/layout.h), if there is any of each.
///
/// The guest changes this memory at any time: copy a value out once, then check the copy.
/// Addresses come from the guest: each accessor checks that the range lies inside one region and gives
/// nothing back otherwise. Writable memory is handed out by write accessors only, which mark it dirty.
class GuestMemory {
  public:
    static Result<GuestMemory> create(const MemoryConfig& config);
    /// Private memory that begins as the content of `file`, a regular file of config.mapped() bytes: a page
    /// is read when it is first touched, and many VMs share those that they only read. Nobody may change or
    /// cut the file meanwhile: who touches a page that is gone gets SIGBUS. Has no memfd; no huge pages.
    static Result<GuestMemory> map(const MemoryConfig& config, Fd file);
    /// The memory of another process: a memfd as create() makes it, that nobody can shrink.
    static Result<GuestMemory> adopt(const MemoryConfig& config, Fd memfd);
    GuestMemory(GuestMemory&&) noexcept = default;
    GuestMemory& operator=(GuestMemory&&) = delete;
    ~GuestMemory();

    [[nodiscard]] std::span<const MemoryRegion> regions() const { return regions_; }
    /// Those that a guest which boots is told of: the others are a device's.
    [[nodiscard]] std::span<const MemoryRegion> boot_regions() const {
        return regions().first(blocks_ ? fixed_ : regions_.size());
    }
    /// Of all regions.
    [[nodiscard]] std::uint64_t size() const { return size_ + plugged_; }
    /// One past the highest guest-physical address that RAM ever has.
    [[nodiscard]] GuestAddress end() const;
    /// Of kVirtioMem, with room: which blocks of the last region the guest uses. What is in the others nobody
    /// misses: they are neither touched() nor dirty, so who plugs one marks it. Null otherwise.
    [[nodiscard]] PluggedBlocks* blocks() const { return blocks_.get(); }

    /// From now on so many bytes of the room are plugged. What goes is given back to the host, and is zeros
    /// when it comes again. Dirty tracking is off, and nobody uses the memory meanwhile.
    Result<> set_plugged(std::uint64_t bytes);
    /// Gives back the memory at an offset in the room, which the guest does not use any more; it stays
    /// plugged, and is zeros.
    Result<> discard_room(std::uint64_t offset, std::uint64_t length);
    /// The memory file; -1 for memory that is private.
    [[nodiscard]] int fd() const { return private_ ? -1 : fd_.get(); }

    /// `length` bytes at `address`, if they all lie in one region. Length 0 is fine inside or at the end of
    /// one.
    [[nodiscard]] std::optional<std::span<const std::byte>> readable(GuestAddress address,
                                                                     std::uint64_t length) const;
    /// The same, to be written at once, while nobody reads what is dirty: the pages are marked already.
    [[nodiscard]] std::optional<std::span<std::byte>> writable(GuestAddress address, std::uint64_t length);
    /// Memory that the kernel will write later (io_uring reads): check and translate now, mark_dirty() when
    /// done.
    [[nodiscard]] std::optional<std::span<std::byte>> writable_later(GuestAddress address,
                                                                     std::uint64_t length);
    /// Marks a range that was handed out by writable_later() once its data are in place.
    void mark_dirty(GuestAddress address, std::uint64_t length);

    /// Copies a value out, or nothing if it is not all inside RAM.
    template <typename T>
    [[nodiscard]] std::optional<T> load(GuestAddress address) const {
        static_assert(std::is_trivially_copyable_v<T>);
        const auto bytes = readable(address, sizeof(T));
        if (!bytes) return std::nullopt;
        T value;
        std::memcpy(&value, bytes->data(), sizeof(T));
        return value;
    }
    /// Copies a value in; false if it does not fit inside RAM.
    template <typename T>
    bool store(GuestAddress address, const T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        return write(address, std::as_bytes(std::span(&value, 1)));
    }
    bool write(GuestAddress address, std::span<const std::byte> data);
    bool read(GuestAddress address, std::span<std::byte> data) const;

    /// Gives whole pages (of the size that the memory has) back to the host: they are zeros from now on, and
    /// dirty.
    /// False: they stay as they are, because the gate is closed, the range is not all in one region, or the
    /// kernel would need too many mappings for it. One thread; one system call, or two.
    bool discard(GuestAddress address, std::uint64_t length);
    /// Has the host give memory for these pages now. False: it has none, or the range is not in one region.
    bool populate(GuestAddress address, std::uint64_t length);
    /// Outlives the memory for who holds it.
    [[nodiscard]] const std::shared_ptr<DiscardGate>& discard_gate() const { return discard_gate_; }

    /// Pages that may be other than zeros, bit n of word w of a region being its page 64 * w + n. The others
    /// are zeros, and to read one would give it memory. Sets more rather than fewer.
    [[nodiscard]] std::vector<std::vector<std::uint64_t>> touched() const;

    /// Who works on it as long as it is mapped; one only.
    void attend(std::unique_ptr<MemoryAttendant> attendant) { attendant_ = std::move(attendant); }
    [[nodiscard]] MemoryAttendant* attendant() const { return attendant_.get(); }

    /// From now on hako's own writes are tracked: those that end after it, whenever they began.
    void start_dirty_tracking();
    void stop_dirty_tracking();
    /// The bitmap of region `index`, or null while tracking is off.
    [[nodiscard]] DirtyBitmap* dirty_bitmap(std::size_t index);

  private:
    GuestMemory() = default;
    static Result<GuestMemory> create(const MemoryConfig& config, Fd file, bool is_private);
    static void add_written(const MemoryRegion& region, std::vector<std::uint64_t>& bits);
    static bool map_zeros(std::byte* host, std::uint64_t length);
    bool discard_private(std::size_t index, std::uint64_t offset, std::uint64_t length);
    [[nodiscard]] std::byte* find(GuestAddress address, std::uint64_t length) const;
    [[nodiscard]] bool tracking() const { return tracking_->load(std::memory_order_acquire); }

    Result<> map_room(const MemoryConfig& config);
    void advise(std::byte* host, std::uint64_t size) const;
    void show_plugged();

    Fd fd_;
    bool private_ = false;
    std::uint64_t size_ = 0;              ///< without the room
    std::uint64_t plugged_ = 0;           ///< of the room
    std::unique_ptr<MemoryRegion> room_;  ///< all of it, if there is any
    std::size_t fixed_ = 0;               ///< regions that are not the room's
    bool thp_ = false;
    bool prefault_ = false;
    std::unique_ptr<PluggedBlocks> blocks_;  ///< of the room
    std::vector<MemoryRegion> regions_;
    std::vector<std::unique_ptr<DirtyBitmap>> dirty_;  ///< made when they are first needed
    std::unique_ptr<std::atomic<bool>> tracking_;
    std::shared_ptr<DiscardGate> discard_gate_ = std::make_shared<DiscardGate>();
    std::vector<std::unique_ptr<AnonymousPages>> anonymous_;  ///< of private memory, made when first needed
    std::unique_ptr<MemoryAttendant> attendant_;
};

}  // namespace hako
