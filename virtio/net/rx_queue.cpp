#include "virtio/net/rx_queue.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace hako::virtio::net {

RxQueue::RxQueue(const QueueSetup& setup, Queue queue, Pair& pair)
    : QueueWorker(setup, std::move(queue)),
      pair_(pair),
      watch_(setup.engine, *this),
      memory_(std::make_unique_for_overwrite<std::byte[]>(kSlots * kSlotBytes)),
      delivery_(setup_, queue_) {
    for (std::size_t i = 0; i < kSlots; ++i) {
        slots_[i].queue = this;
        slots_[i].data = memory_.get() + i * kSlotBytes;
    }
}

void RxQueue::read_tap(bool on) {
    if (on) {
        watch_.start(pair_.tap);
    } else {
        watch_.stop();
    }
}

void RxQueue::serve() {
    // Packets that were read already would be lost to a migration: draining delivers them.
    if (running() || draining()) deliver_held();
    // While the driver has no room, packets wait in the tap, which drops them when it is full.
    if (running() && pair_.active && !pair_.gone && watch_.ready() && reads_ == 0 && held_count_ == 0 &&
        admitted())
        read();
}

/// How many reads to try at once: the first slots, all of which are free. While packets are long they are
/// few, so that what backs the slots stays small.
std::size_t RxQueue::burst() {
    if (likely_ <= kShortPacket) return burst_;
    if (std::exchange(far_slots_backed_, false)) {
        const auto begin = align_up(reinterpret_cast<std::uintptr_t>(slots_[kFewReads].data), kPageSize);
        const auto end =
            align_down(reinterpret_cast<std::uintptr_t>(memory_.get() + kSlots * kSlotBytes), kPageSize);
        ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
    return kFewReads;
}

/// False: the queue waits for its limit, and meanwhile no packet that the tap takes in wakes it.
bool RxQueue::admitted() {
    Throttle& throttle = setup_.backend.rx;
    // What a pulled cable loses is no traffic.
    if (throttle.limited() && setup_.backend.link_up.load(std::memory_order_relaxed) &&
        !throttle.admit(*this, setup_.metrics.throttled)) {
        watch_.hush();
        return false;
    }
    watch_.listen();
    return true;
}

void RxQueue::read() {
    burst_full_ = true;
    std::size_t reads = burst();
    if (Throttle& throttle = setup_.backend.rx; throttle.limited())
        reads = static_cast<std::size_t>(std::min<std::uint64_t>(reads, throttle.room(likely_)));
    likely_ -= likely_ / 8;
    for (Slot& slot : std::span(slots_).first(reads)) {
        io_uring_sqe& entry = setup_.engine.prepare(&slot);
        io_uring_prep_read(&entry, pair_.tap.fd, slot.data, kSlotBytes, 0);
        slot.rw_flags = pair_.rw_flags;
        entry.rw_flags = slot.rw_flags;
        entry.flags |= pair_.tap.sqe_flags();
        slot.reading = true;
        ++reads_;
    }
}

/// Where a tap does not know RWF_NOWAIT (Linux 6.1), io_uring makes a read wait for the next packet.
void RxQueue::cancel_waiting() {
    setup_.backend.rx.leave(*this);
    for (Slot& slot : slots_) {
        if (slot.reading)
            io_uring_prep_cancel(&setup_.engine.prepare(nullptr), static_cast<io::Completion*>(&slot), 0);
    }
}

void RxQueue::completed(Slot& slot, std::int32_t result) {
    --reads_;
    slot.reading = false;
    setup_.engine.schedule(*this);
    // The reads of a burst are done one after another as they are submitted: packets keep their order.
    if (result > static_cast<std::int32_t>(sizeof(Header))) {
        slot.length = static_cast<std::uint32_t>(result);
        const std::uint32_t bytes = slot.length - std::uint32_t{sizeof(Header)};
        likely_ = std::max(likely_, bytes);
        far_slots_backed_ |= bytes > kShortPacket && &slot >= &slots_[kFewReads];
        if (setup_.backend.link_up.load(std::memory_order_relaxed)) setup_.backend.rx.take(bytes);
        held_[held_first_ + held_count_++] = &slot;
    } else {
        if (result == -EAGAIN) {
            burst_full_ = false;
            watch_.drained();
        } else if (result == -ECANCELED) {
            burst_full_ = false;
        } else if (result > 0) {
            delivery_.drop();  // no frame at all
        } else if (result == -EOPNOTSUPP && slot.rw_flags != 0) {
            pair_.rw_flags = 0;  // and the next burst reads it
        } else if (result != -EINTR) {
            failed(result);
        }
    }
    if (reads_ == 0) burst_ = burst_full_ ? std::min(2 * burst_, kSlots) : std::max(burst_ / 2, kFewReads);
}

void RxQueue::failed(std::int32_t result) {
    watch_.drained();
    // A queue that the driver gave up is detached, and its last reads are refused.
    if (!pair_.active || pair_.gone) return;
    // The guest keeps an interface on which nothing arrives, as with a pulled cable; only a new tap helps.
    pair_.gone = true;
    watch_.stop();
    setup_.backend.log.warn("tap {} is gone ({}): its VM goes on without it", setup_.backend.name,
                            result == 0 ? "closed" : errno_text(-result));
}

void RxQueue::deliver_held() {
    queue_.disable_notifications();
    while (held_count_ > 0) {
        Slot& slot = *held_[held_first_];
        if (!setup_.backend.link_up.load(std::memory_order_relaxed)) {
            delivery_.drop();
        } else if (const auto outcome = deliver(slot); outcome != PacketDelivery::Outcome::kDone) {
            if (outcome == PacketDelivery::Outcome::kBroken) break_down(delivery_.fault());
            return;
        }
        ++held_first_;
        --held_count_;
    }
    held_first_ = 0;
}

PacketDelivery::Outcome RxQueue::deliver(const Slot& slot) {
    Header header{};
    std::memcpy(&header, slot.data, sizeof header);
    return delivery_.deliver(header, std::span(slot.data, slot.length).subspan(sizeof header));
}

}  // namespace hako::virtio::net
