#include "virtio/net/tx_queue.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace hako::virtio::net {
namespace {

/// What one writev takes (UIO_MAXIOV), and the longest chain there can be.
constexpr std::size_t kMaxVectors = kMaxQueueSize;

/// A stream's segments are larger. There are few of them for what they carry, and a stream waits for its
/// answers: a moment's delay would cost it more than doorbells do.
constexpr std::uint32_t kSmall = 4096;

bool tells_of_the_end(std::int32_t result) {
    return result == -EBADFD || result == -EPIPE || result == -ECONNRESET || result == -ECONNREFUSED;
}

}  // namespace

TxQueue::TxQueue(const QueueSetup& setup, Queue queue, Pair& pair)
    : QueueWorker(setup, std::move(queue)),
      pair_(pair),
      chain_(kMaxVectors),
      slots_(queue_.size()),
      long_vectors_(std::size_t{queue_.size()} * kMaxVectors) {
    for (std::size_t head = 0; head < slots_.size(); ++head) {
        slots_[head].queue = this;
        slots_[head].head = static_cast<std::uint16_t>(head);
    }
}

void TxQueue::serve() {
    if (!running()) return;
    queue_.disable_notifications();
    for (std::uint16_t left = queue_.size();;) {
        for (; left > 0; --left) {
            if (!admitted()) return;
            const auto popped = queue_.pop(chain_);
            if (!popped) return break_down(virtio::fault_text(popped.error()));
            if (!*popped) break;
            begin();
        }
        if (left == 0) {
            // A full queue's worth: the engine's other devices come first, then we go on.
            setup_.engine.schedule(*this);
            return;
        }
        // The system call that ends this round writes these packets, and their completions bring us back
        // here: until then the guest need not stop to tell of more.
        if (queue_.in_flight() > 0) return;
        if (second_look_.wanted(std::exchange(small_, 0), setup_.engine.moment_passed()))
            return setup_.engine.schedule_soon(*this);
        if (!queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

/// False: the queue waits for its limit. No doorbell is needed meanwhile.
bool TxQueue::admitted() {
    Throttle& throttle = setup_.backend.tx;
    if (!throttle.limited() || !setup_.backend.link_up.load(std::memory_order_relaxed)) return true;
    return !queue_.has_available() || throttle.admit(*this, setup_.metrics.throttled);
}

void TxQueue::begin() {
    const std::uint16_t head = chain_.head();
    if (chain_.readable_bytes() <= kSmall) ++small_;
    // What is no packet can be given back all the same.
    if (chain_.writable_bytes() != 0 || chain_.readable_bytes() <= sizeof(Header)) {
        setup_.metrics.errors.add(1);
        return queue_.push_used(head, 0);
    }
    if (!pair_.active || pair_.gone || !setup_.backend.link_up.load(std::memory_order_relaxed)) {
        setup_.metrics.dropped.add(1);
        return queue_.push_used(head, 0);
    }
    setup_.backend.tx.take(chain_.readable_bytes() - sizeof(Header));
    Slot& slot = slots_[head];
    const auto data = chain_.readable();
    iovec* const vectors =
        data.size() <= kInlineVectors ? slot.inline_vectors.data() : long_vectors_.get() + head * kMaxVectors;
    std::ranges::transform(data, vectors, [](const Segment& segment) {
        return iovec{.iov_base = segment.host, .iov_len = segment.length};
    });
    slot.vectors = vectors;
    slot.vector_count = static_cast<std::uint32_t>(data.size());
    submit(slot);
}

void TxQueue::submit(Slot& slot) {
    slot.rw_flags = pair_.rw_flags;
    io_uring_sqe& entry = setup_.engine.prepare(&slot);
    io_uring_prep_writev2(&entry, pair_.tap.fd, slot.vectors, slot.vector_count, 0, slot.rw_flags);
    entry.flags |= pair_.tap.sqe_flags();
}

void TxQueue::completed(Slot& slot, std::int32_t result) {
    setup_.engine.schedule(*this);
    if (result == -EOPNOTSUPP && slot.rw_flags != 0) {
        pair_.rw_flags = 0;
        return submit(slot);
    }
    queue_.push_used(slot.head, 0);
    if (result > 0) {
        setup_.metrics.packets.add(1);
        setup_.metrics.bytes.add(static_cast<std::uint32_t>(result) - sizeof(Header));
        return;
    }
    // A wild header, an interface that is down, a full socket: a network loses packets.
    setup_.metrics.dropped.add(1);
    if (!tells_of_the_end(result) || !pair_.active || pair_.gone) return;
    pair_.gone = true;
    setup_.backend.log.warn("tap {} is gone ({}): its VM goes on without it", setup_.backend.name,
                            errno_text(-result));
}

}  // namespace hako::virtio::net
