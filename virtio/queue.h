// A split virtqueue, seen from the device (virtio 1.3, 2.7). Everything in it is the guest's word.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "virtio/device.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio {

/// Largest queue hako offers and largest indirect table it follows, descriptors.
inline constexpr std::uint16_t kMaxQueueSize = 1024;

/// How a driver can break a queue. Any of these ends the queue's use until the device is reset.
enum class QueueFault : std::uint8_t {
    kAvailableTooFar,        ///< more entries are available than the queue holds
    kHeadOutOfRange,         ///< an available entry names a descriptor beyond the table
    kHeadInFlight,           ///< an available entry names a chain the device has not returned yet
    kNextOutOfRange,         ///< a descriptor's next lies beyond its table
    kLoop,                   ///< a chain has more descriptors than its table
    kTooManySegments,        ///< a chain has more buffers than the device takes
    kTooManyBytes,           ///< a chain's buffers add up to 4 GiB or more
    kZeroLength,             ///< an empty buffer
    kOutsideMemory,          ///< a buffer is not all in guest RAM
    kReadableAfterWritable,  ///< device-readable buffers come first
    kIndirectNotNegotiated,
    kIndirectNested,    ///< an indirect table points to another
    kIndirectWithNext,  ///< INDIRECT and NEXT in one descriptor
    kIndirectSize,      ///< an indirect table is empty, ragged or too large
    kIndirectOutsideMemory,
};

/// What a fault is, for the log: "a descriptor chain loops".
[[nodiscard]] std::string_view fault_text(QueueFault fault);

/// One buffer of a chain: checked, and translated.
struct Segment {
    GuestAddress address;
    std::uint32_t length = 0;
    std::byte* host = nullptr;  ///< not to be written in a chain's readable part
};

/// One descriptor chain, copied out of the ring. Preallocated by the device and used again for each request.
class Chain {
  public:
    /// Room for `capacity` buffers.
    explicit Chain(std::size_t capacity) : segments_(new Segment[capacity]), capacity_(capacity) {}

    /// Which chain this is, to Queue::push_used().
    [[nodiscard]] std::uint16_t head() const { return head_; }
    /// What the driver gave the device to read, in order.
    [[nodiscard]] std::span<const Segment> readable() const {
        return {segments_.get() + first_, split_ - first_};
    }
    /// What the device may write.
    [[nodiscard]] std::span<const Segment> writable() const {
        return {segments_.get() + split_, last_ - split_};
    }
    [[nodiscard]] std::uint32_t readable_bytes() const { return readable_bytes_; }
    [[nodiscard]] std::uint32_t writable_bytes() const { return writable_bytes_; }

    /// Copies `data.size()` bytes off the front of the readable part, once, however they are cut into
    /// buffers. False, and nothing taken, if there are fewer.
    bool take_readable(std::span<std::byte> data);
    /// Copies `data` into the writable part from `offset` on, however it is cut into buffers, and marks in
    /// `memory` what has changed. How many bytes there was room for.
    std::uint32_t write(GuestMemory& memory, std::span<const std::byte> data, std::size_t offset = 0) const;
    /// Takes the last byte of the writable part, if it has one.
    std::optional<Segment> take_last_writable();

  private:
    friend class Queue;
    void clear(std::uint16_t head);
    [[nodiscard]] std::optional<QueueFault> add(const Segment& segment, bool writable);

    std::unique_ptr<Segment[]> segments_;
    std::size_t capacity_;
    std::size_t first_ = 0;  ///< readable: [first_, split_)
    std::size_t split_ = 0;  ///< writable: [split_, last_)
    std::size_t last_ = 0;
    std::uint32_t readable_bytes_ = 0;
    std::uint32_t writable_bytes_ = 0;
    std::uint16_t head_ = 0;
};

/// The device side of one split virtqueue. Used by one thread at a time.
///
/// Geometry is checked and copied when it is made and never looked at again. Each guest value is read once.
/// A served queue goes: pop() until false, push_used() for each, publish() once, needs_interrupt() once,
/// enable_notifications() and, if that says so, pop() again.
class Queue {
  public:
    /// `features`: negotiated. `position`: where a saved queue stood. An error says what is wrong with the
    /// rings.
    static Result<Queue> create(GuestMemory& memory, const QueueConfig& config, std::uint64_t features,
                                QueuePosition position = {});

    [[nodiscard]] std::uint16_t size() const { return size_; }
    /// Everything popped has been pushed and published when a position is saved.
    [[nodiscard]] QueuePosition position() const {
        return {.next_avail = next_avail_, .next_used = next_used_};
    }
    /// Chains popped and not pushed yet.
    [[nodiscard]] std::uint16_t in_flight() const { return in_flight_; }

    /// Whether pop() would give a chain or a fault.
    [[nodiscard]] bool has_available() const;
    /// Takes the next available chain. False: none there. After a fault the queue gives that fault for ever.
    /// Bounded: it reads at most size() + kMaxQueueSize descriptors.
    std::expected<bool, QueueFault> pop(Chain& chain);

    /// Returns a popped chain; `written` counts from the start of its writable part. Seen after publish().
    void push_used(std::uint16_t head, std::uint32_t written);
    /// Undoes the latest pop that is not undone yet: pop() gives that chain again. Nothing popped before it
    /// need be back.
    void unpop(std::uint16_t head);
    /// Drops a popped chain that cannot be returned: the queue is to be reset.
    void forget(std::uint16_t head);
    /// Shows all pushed chains to the driver at once.
    void publish();
    /// Whether the driver wants an interrupt for what was published since the last call. Ask once after
    /// publish().
    [[nodiscard]] bool needs_interrupt();

    /// Asks the driver not to kick. A hint.
    void disable_notifications();
    /// Asks for a kick on the next available chain. True: one came in meanwhile, so pop() again.
    [[nodiscard]] bool enable_notifications();

  private:
    struct Descriptor {
        std::uint64_t address;
        std::uint32_t length;
        std::uint16_t flags;
        std::uint16_t next;
    };

    Queue(GuestMemory& memory, const QueueConfig& config, std::uint64_t features, QueuePosition position);
    [[nodiscard]] std::optional<QueueFault> walk(Chain& chain, std::uint16_t head);
    [[nodiscard]] std::optional<QueueFault> take_head(std::uint16_t& head);
    void store_used_flags(std::uint16_t flags);

    GuestMemory* memory_;
    QueueConfig config_;
    std::uint16_t size_;
    bool event_idx_;
    bool indirect_;

    // The rings in hako's mapping; checked to lie in RAM, aligned and all of them.
    std::byte* descriptors_ = nullptr;
    std::byte* avail_ = nullptr;
    std::byte* used_ = nullptr;

    std::uint16_t next_avail_;
    std::uint16_t avail_seen_;  ///< the available index when it was last read
    std::uint16_t next_used_;
    std::uint16_t published_;  ///< the used index that the driver sees
    std::uint16_t asked_;      ///< the used index when needs_interrupt() was last asked
    bool asked_once_ = false;
    std::uint16_t in_flight_ = 0;
    std::array<std::uint64_t, kMaxQueueSize / 64> head_busy_{};
    std::optional<QueueFault> fault_;
};

}  // namespace hako::virtio
