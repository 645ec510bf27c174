// The driver's side of a split virtqueue, for tests, fuzzing and benchmarks: it plays the guest.
#pragma once

#include <array>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "virtio/device.h"
#include "vmm/base/units.h"
#include "vmm/memory/guest_memory.h"

namespace hako::test {

/// One buffer of a request, as a driver describes it.
struct Buffer {
    GuestAddress address;
    std::uint32_t length = 0;
    bool writable = false;
};

/// Descriptor flags (virtio 1.3, 2.7.5).
inline constexpr std::uint16_t kNext = 1;
inline constexpr std::uint16_t kWrite = 2;
inline constexpr std::uint16_t kIndirect = 4;

/// Lays the three rings out from `base` (16-byte aligned) and works them like a guest: through plain guest
/// memory, not marked dirty. Allocates nothing once made. One thread.
class DriverQueue {
  public:
    DriverQueue(GuestMemory& memory, GuestAddress base, std::uint16_t size, bool event_idx = false)
        : memory_(memory), base_(base), size_(size), event_idx_(event_idx), chain_length_(size, 0) {
        std::memset(at(base, bytes()), 0, bytes());
        for (std::uint16_t i = size; i > 0; --i)
            free_.push_back(static_cast<std::uint16_t>(i - 1));
    }

    /// Bytes that the rings take.
    [[nodiscard]] std::uint64_t bytes() const { return used_offset() + 6 + std::uint64_t{8} * size_; }
    [[nodiscard]] GuestAddress end() const { return base_ + align_up(bytes(), kPageSize); }
    [[nodiscard]] std::uint16_t size() const { return size_; }
    [[nodiscard]] virtio::QueueConfig config() const {
        return {.size = size_,
                .descriptors = base_,
                .driver = base_ + std::uint64_t{16} * size_,
                .device = base_ + used_offset(),
                .enabled = true};
    }

    // Raw access, to break the rules with.

    /// Writes a 16-byte descriptor anywhere in guest memory.
    void write_descriptor(GuestAddress where, GuestAddress address, std::uint32_t length, std::uint16_t flags,
                          std::uint16_t next) {
        std::byte* to = at(where, 16);
        std::memcpy(to, &address.value, 8);
        std::memcpy(to + 8, &length, 4);
        std::memcpy(to + 12, &flags, 2);
        std::memcpy(to + 14, &next, 2);
    }
    void write_descriptor(std::uint16_t index, GuestAddress address, std::uint32_t length,
                          std::uint16_t flags, std::uint16_t next = 0) {
        write_descriptor(base_ + std::uint64_t{16} * index, address, length, flags, next);
    }
    /// Puts a head into the next available entry; seen after publish().
    void offer(std::uint16_t head) {
        field(avail_offset() + 4 + std::uint64_t{2} * (next_avail_ % size_))
            .store(head, std::memory_order_relaxed);
        ++next_avail_;
    }
    void set_available_index(std::uint16_t index) {
        next_avail_ = index;
        publish();
    }
    void set_no_interrupt(bool on) { field(avail_offset()).store(on ? 1 : 0); }
    void set_used_event(std::uint16_t index) {
        field(avail_offset() + 4 + std::uint64_t{2} * size_).store(index);
    }
    [[nodiscard]] std::uint16_t used_flags() { return field(used_offset()).load(); }
    [[nodiscard]] std::uint16_t used_index() { return field(used_offset() + 2).load(); }
    [[nodiscard]] std::uint16_t avail_event() {
        return field(used_offset() + 4 + std::uint64_t{8} * size_).load();
    }
    [[nodiscard]] std::uint16_t available_index() const { return next_avail_; }

    // As a well-behaved driver does.

    /// Chains `buffers` in the descriptor table and offers the chain. Nothing if the table is full.
    std::optional<std::uint16_t> add(std::span<const Buffer> buffers) {
        if (buffers.empty() || free_.size() < buffers.size()) return std::nullopt;
        const std::uint16_t head = free_.back();
        chain_length_[head] = static_cast<std::uint16_t>(buffers.size());
        for (std::size_t i = 0; i < buffers.size(); ++i) {
            const std::uint16_t index = free_.back();
            free_.pop_back();
            const bool last = i + 1 == buffers.size();
            write_descriptor(index, buffers[i].address, buffers[i].length, flags_of(buffers[i], last),
                             last ? std::uint16_t{0} : free_.back());
        }
        offer(head);
        return head;
    }
    /// The same by an indirect table at `table`; takes one descriptor.
    std::optional<std::uint16_t> add_indirect(std::span<const Buffer> buffers, GuestAddress table) {
        if (buffers.empty() || free_.empty()) return std::nullopt;
        const std::uint16_t head = free_.back();
        free_.pop_back();
        chain_length_[head] = 1;
        for (std::size_t i = 0; i < buffers.size(); ++i)
            write_descriptor(table + 16 * i, buffers[i].address, buffers[i].length,
                             flags_of(buffers[i], i + 1 == buffers.size()),
                             static_cast<std::uint16_t>(i + 1));
        write_descriptor(head, table, static_cast<std::uint32_t>(16 * buffers.size()), kIndirect);
        offer(head);
        return head;
    }
    /// Shows what was offered. True if the device wants a kick for it.
    bool publish() {
        const std::uint16_t before = published_;
        published_ = next_avail_;
        field(avail_offset() + 2).store(published_, std::memory_order_seq_cst);
        if (!event_idx_) return (used_flags() & 1) == 0;
        return static_cast<std::uint16_t>(published_ - avail_event() - 1) <
               static_cast<std::uint16_t>(published_ - before);
    }

    struct Used {
        std::uint16_t head = 0;
        std::uint32_t written = 0;
    };
    /// The next chain that the device returned; its descriptors are free again.
    std::optional<Used> take_used() {
        if (field(used_offset() + 2).load(std::memory_order_acquire) == next_used_) return std::nullopt;
        std::array<std::uint32_t, 2> element{};
        std::memcpy(element.data(),
                    at(base_ + (used_offset() + 4 + std::uint64_t{8} * (next_used_ % size_)), 8), 8);
        ++next_used_;
        const auto head = static_cast<std::uint16_t>(element[0]);
        release(head);
        return Used{.head = head, .written = element[1]};
    }
    /// Asks for an interrupt on the next used chain. True: there is one already.
    bool want_interrupt() {
        if (event_idx_) {
            set_used_event(next_used_);
        } else {
            set_no_interrupt(false);
        }
        return used_index() != next_used_;
    }

  private:
    [[nodiscard]] std::uint64_t avail_offset() const { return std::uint64_t{16} * size_; }
    [[nodiscard]] std::uint64_t used_offset() const {
        return align_up(avail_offset() + 6 + std::uint64_t{2} * size_, 4);
    }
    static std::uint16_t flags_of(const Buffer& buffer, bool last) {
        return static_cast<std::uint16_t>((buffer.writable ? kWrite : 0) | (last ? 0 : kNext));
    }
    std::byte* at(GuestAddress address, std::uint64_t length) {
        const auto bytes = memory_.writable_later(address, length);
        assert(bytes);
        return bytes->data();
    }
    std::atomic_ref<std::uint16_t> field(std::uint64_t offset) {
        return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(at(base_ + offset, 2)));
    }
    void release(std::uint16_t head) {
        std::uint16_t index = head;
        for (std::uint16_t left = head < size_ ? chain_length_[head] : std::uint16_t{0}; left > 0; --left) {
            free_.push_back(index);
            std::memcpy(&index, at(base_ + (std::uint64_t{16} * index + 14), 2), 2);
        }
        if (head < size_) chain_length_[head] = 0;
    }

    GuestMemory& memory_;
    GuestAddress base_;
    std::uint16_t size_;
    bool event_idx_;
    std::vector<std::uint16_t> free_;
    std::vector<std::uint16_t> chain_length_;
    std::uint16_t next_avail_ = 0;
    std::uint16_t published_ = 0;
    std::uint16_t next_used_ = 0;
};

}  // namespace hako::test
