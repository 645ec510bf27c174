#include "virtio/queue.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>

#include "vmm/base/units.h"

namespace hako::virtio {
namespace {

// Layout of the rings (virtio 1.3, 2.7.5, 2.7.6 and 2.7.8), bytes.
constexpr std::size_t kDescriptorSize = 16;
constexpr std::size_t kAvailFlags = 0;
constexpr std::size_t kAvailIndex = 2;
constexpr std::size_t kAvailRing = 4;
constexpr std::size_t kUsedFlags = 0;
constexpr std::size_t kUsedIndex = 2;
constexpr std::size_t kUsedRing = 4;
constexpr std::size_t kUsedElement = 8;
constexpr std::size_t kEventSize = 2;

constexpr std::uint16_t kDescNext = 1;
constexpr std::uint16_t kDescWrite = 2;
constexpr std::uint16_t kDescIndirect = 4;
constexpr std::uint16_t kAvailNoInterrupt = 1;
constexpr std::uint16_t kUsedNoNotify = 1;

std::size_t avail_bytes(std::uint16_t size) {
    return kAvailRing + std::size_t{2} * size + kEventSize;
}
std::size_t used_bytes(std::uint16_t size) {
    return kUsedRing + kUsedElement * size + kEventSize;
}

// Ring fields are shared with the guest's CPUs. The stores and loads that must not pass each other (used
// index against used_event, avail_event against available index) are sequentially consistent on both sides.
std::atomic_ref<std::uint16_t> field16(std::byte* ring, std::size_t offset) {
    return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(ring + offset));
}

/// Copies guest bytes exactly once: the barrier keeps the compiler from reading them again instead of the
/// copy.
void copy_once(void* to, const std::byte* from, std::size_t size) {
    std::memcpy(to, from, size);
    asm volatile("" ::: "memory");
}

}  // namespace

std::string_view fault_text(QueueFault fault) {
    switch (fault) {
        case QueueFault::kAvailableTooFar:
            return "the available index is more than the queue's size ahead";
        case QueueFault::kHeadOutOfRange:
            return "an available entry names a descriptor beyond the table";
        case QueueFault::kHeadInFlight:
            return "an available entry names a chain that is still in use";
        case QueueFault::kNextOutOfRange:
            return "a descriptor's next lies beyond its table";
        case QueueFault::kLoop:
            return "a descriptor chain loops";
        case QueueFault::kTooManySegments:
            return "a descriptor chain has too many buffers";
        case QueueFault::kTooManyBytes:
            return "a descriptor chain's buffers add up to 4 GiB or more";
        case QueueFault::kZeroLength:
            return "a descriptor has length 0";
        case QueueFault::kOutsideMemory:
            return "a buffer lies outside guest memory";
        case QueueFault::kReadableAfterWritable:
            return "a device-readable buffer follows a device-writable one";
        case QueueFault::kIndirectNotNegotiated:
            return "an indirect descriptor, which was not negotiated";
        case QueueFault::kIndirectNested:
            return "an indirect table holds an indirect descriptor";
        case QueueFault::kIndirectWithNext:
            return "an indirect descriptor has a next";
        case QueueFault::kIndirectSize:
            return "an indirect table's size is 0, ragged or too large";
        case QueueFault::kIndirectOutsideMemory:
            return "an indirect table lies outside guest memory";
    }
    return "unknown";
}

void Chain::clear(std::uint16_t head) {
    head_ = head;
    first_ = split_ = last_ = 0;
    readable_bytes_ = writable_bytes_ = 0;
}

std::optional<QueueFault> Chain::add(const Segment& segment, bool writable) {
    if (last_ == capacity_) return QueueFault::kTooManySegments;
    if (!writable && split_ != last_) return QueueFault::kReadableAfterWritable;
    const std::uint64_t total = std::uint64_t{readable_bytes_} + writable_bytes_ + segment.length;
    if (total > UINT32_MAX) return QueueFault::kTooManyBytes;
    segments_[last_++] = segment;
    if (writable) {
        writable_bytes_ += segment.length;
    } else {
        split_ = last_;
        readable_bytes_ += segment.length;
    }
    return std::nullopt;
}

bool Chain::take_readable(std::span<std::byte> data) {
    if (data.size() > readable_bytes_) return false;
    readable_bytes_ -= static_cast<std::uint32_t>(data.size());
    while (!data.empty()) {
        Segment& segment = segments_[first_];
        const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(segment.length, data.size()));
        copy_once(data.data(), segment.host, count);
        data = data.subspan(count);
        segment.address = segment.address + count;
        segment.host += count;
        segment.length -= count;
        if (segment.length == 0) ++first_;
    }
    return true;
}

std::uint32_t Chain::write(GuestMemory& memory, std::span<const std::byte> data, std::size_t offset) const {
    const std::size_t all = data.size();
    for (const Segment& segment : writable()) {
        if (data.empty()) break;
        const auto skipped = static_cast<std::uint32_t>(std::min<std::size_t>(segment.length, offset));
        offset -= skipped;
        const auto count = std::min<std::size_t>(segment.length - skipped, data.size());
        if (count == 0) continue;
        std::memcpy(segment.host + skipped, data.data(), count);
        memory.mark_dirty(segment.address + skipped, count);
        data = data.subspan(count);
    }
    return static_cast<std::uint32_t>(all - data.size());
}

std::optional<Segment> Chain::take_last_writable() {
    if (writable_bytes_ == 0) return std::nullopt;
    --writable_bytes_;
    Segment& segment = segments_[last_ - 1];
    --segment.length;
    const Segment byte{
        .address = segment.address + segment.length, .length = 1, .host = segment.host + segment.length};
    if (segment.length == 0) --last_;
    return byte;
}

Result<Queue> Queue::create(GuestMemory& memory, const QueueConfig& config, std::uint64_t features,
                            QueuePosition position) {
    if (!std::has_single_bit(config.size) || config.size > kMaxQueueSize)
        return fail_input("queue size {} is not a power of two up to {}", config.size, kMaxQueueSize);
    Queue queue(memory, config, features, position);
    const auto map = [&](GuestAddress address, std::size_t bytes, std::uint64_t alignment,
                         std::string_view what, std::byte*& host) -> Result<> {
        if (!is_aligned(address.value, alignment))
            return fail_input("{} at {:#x} is not aligned to {}", what, address.value, alignment);
        const auto span = memory.writable_later(address, bytes);
        if (!span) return fail_input("{} at {:#x} lies outside guest memory", what, address.value);
        host = span->data();
        return {};
    };
    HAKO_TRY(
        map(config.descriptors, kDescriptorSize * config.size, 16, "descriptor table", queue.descriptors_));
    HAKO_TRY(map(config.driver, avail_bytes(config.size), 2, "available ring", queue.avail_));
    HAKO_TRY(map(config.device, used_bytes(config.size), 4, "used ring", queue.used_));
    return queue;
}

Queue::Queue(GuestMemory& memory, const QueueConfig& config, std::uint64_t features, QueuePosition position)
    : memory_(&memory),
      config_(config),
      size_(config.size),
      event_idx_((features & feature::kEventIdx) != 0),
      indirect_((features & feature::kIndirectDesc) != 0),
      next_avail_(position.next_avail),
      avail_seen_(position.next_avail),
      next_used_(position.next_used),
      published_(position.next_used),
      asked_(position.next_used) {}

bool Queue::has_available() const {
    return fault_ || next_avail_ != avail_seen_ ||
           field16(avail_, kAvailIndex).load(std::memory_order_relaxed) != next_avail_;
}

std::expected<bool, QueueFault> Queue::pop(Chain& chain) {
    if (fault_) return std::unexpected(*fault_);
    if (next_avail_ == avail_seen_) {
        // Acquire: the entries and descriptors below were written before the index.
        const std::uint16_t available = field16(avail_, kAvailIndex).load(std::memory_order_acquire);
        if (available == next_avail_) return false;
        if (static_cast<std::uint16_t>(available - next_avail_) > size_) {
            fault_ = QueueFault::kAvailableTooFar;
            return std::unexpected(*fault_);
        }
        avail_seen_ = available;
    }
    std::uint16_t head = 0;
    fault_ = take_head(head);
    if (!fault_) fault_ = walk(chain, head);
    if (fault_) return std::unexpected(*fault_);
    ++next_avail_;
    ++in_flight_;
    head_busy_[head / 64] |= std::uint64_t{1} << (head % 64);
    return true;
}

std::optional<QueueFault> Queue::take_head(std::uint16_t& head) {
    const std::size_t slot = next_avail_ & (size_ - 1);
    head = field16(avail_, kAvailRing + 2 * slot).load(std::memory_order_relaxed);
    if (head >= size_) return QueueFault::kHeadOutOfRange;
    if ((head_busy_[head / 64] >> (head % 64) & 1) != 0) return QueueFault::kHeadInFlight;
    return std::nullopt;
}

std::optional<QueueFault> Queue::walk(Chain& chain, std::uint16_t head) {
    chain.clear(head);
    const std::byte* table = descriptors_;
    std::uint32_t entries = size_;
    std::uint32_t index = head;
    bool in_indirect = false;
    for (std::uint32_t left = entries;; --left) {
        if (left == 0) return QueueFault::kLoop;
        Descriptor descriptor{};
        copy_once(&descriptor, table + kDescriptorSize * index, sizeof descriptor);

        if ((descriptor.flags & kDescIndirect) != 0) {
            if (in_indirect) return QueueFault::kIndirectNested;
            if (!indirect_) return QueueFault::kIndirectNotNegotiated;
            if ((descriptor.flags & kDescNext) != 0) return QueueFault::kIndirectWithNext;
            entries = descriptor.length / std::uint32_t{kDescriptorSize};
            if (entries == 0 || entries > kMaxQueueSize || descriptor.length % kDescriptorSize != 0)
                return QueueFault::kIndirectSize;
            const auto bytes = memory_->readable(GuestAddress{descriptor.address}, descriptor.length);
            if (!bytes) return QueueFault::kIndirectOutsideMemory;
            table = bytes->data();
            index = 0;
            left = entries + 1;
            in_indirect = true;
            continue;
        }

        if (descriptor.length == 0) return QueueFault::kZeroLength;
        const GuestAddress address{descriptor.address};
        const auto bytes = memory_->writable_later(address, descriptor.length);
        if (!bytes) return QueueFault::kOutsideMemory;
        const bool writable = (descriptor.flags & kDescWrite) != 0;
        const auto fault =
            chain.add({.address = address, .length = descriptor.length, .host = bytes->data()}, writable);
        if (fault) return fault;

        if ((descriptor.flags & kDescNext) == 0) return std::nullopt;
        index = descriptor.next;
        if (index >= entries) return QueueFault::kNextOutOfRange;
    }
}

void Queue::unpop(std::uint16_t head) {
    forget(head);
    --next_avail_;
}

void Queue::forget(std::uint16_t head) {
    assert(head < size_ && (head_busy_[head / 64] >> (head % 64) & 1) != 0);
    head_busy_[head / 64] &= ~(std::uint64_t{1} << (head % 64));
    --in_flight_;
}

void Queue::push_used(std::uint16_t head, std::uint32_t written) {
    forget(head);
    const std::size_t slot = next_used_ & (size_ - 1);
    const std::array<std::uint32_t, 2> element{head, written};
    std::memcpy(used_ + kUsedRing + kUsedElement * slot, element.data(), kUsedElement);
    ++next_used_;
}

void Queue::publish() {
    const auto count = static_cast<std::uint16_t>(next_used_ - published_);
    if (count == 0) return;
    const std::size_t first = published_ & (size_ - 1);
    const std::size_t until_end = std::min<std::size_t>(count, size_ - first);
    memory_->mark_dirty(config_.device + (kUsedRing + kUsedElement * first), kUsedElement * until_end);
    if (count > until_end)
        memory_->mark_dirty(config_.device + kUsedRing, kUsedElement * (count - until_end));
    published_ = next_used_;
    field16(used_, kUsedIndex).store(published_, std::memory_order_seq_cst);
    memory_->mark_dirty(config_.device, kUsedRing);
}

bool Queue::needs_interrupt() {
    const std::uint16_t before = asked_;
    const bool first = !asked_once_;
    asked_ = published_;
    if (asked_ == before) return false;
    asked_once_ = true;
    if (!event_idx_)
        return (field16(avail_, kAvailFlags).load(std::memory_order_seq_cst) & kAvailNoInterrupt) == 0;
    // After a restore nobody knows what the driver was told last: tell it.
    if (first) return true;
    const std::uint16_t event =
        field16(avail_, kAvailRing + std::size_t{2} * size_).load(std::memory_order_seq_cst);
    // Whether `event` lies in [before, published_), modulo 2^16 (virtio 1.3, 2.7.10).
    return static_cast<std::uint16_t>(published_ - event - 1) <
           static_cast<std::uint16_t>(published_ - before);
}

void Queue::store_used_flags(std::uint16_t flags) {
    field16(used_, kUsedFlags).store(flags, std::memory_order_seq_cst);
    memory_->mark_dirty(config_.device, kUsedRing);
}

void Queue::disable_notifications() {
    // With EVENT_IDX the avail_event last written is already behind: the driver passed it when it kicked.
    if (!event_idx_) store_used_flags(kUsedNoNotify);
}

bool Queue::enable_notifications() {
    if (event_idx_) {
        const std::size_t offset = kUsedRing + kUsedElement * size_;
        field16(used_, offset).store(next_avail_, std::memory_order_seq_cst);
        memory_->mark_dirty(config_.device + offset, kEventSize);
    } else {
        store_used_flags(0);
    }
    return field16(avail_, kAvailIndex).load(std::memory_order_seq_cst) != next_avail_;
}

}  // namespace hako::virtio
