#include "virtio/net/stream_tx_queue.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace hako::virtio::net {

StreamTxQueue::StreamTxQueue(const QueueSetup& setup, Queue queue, StreamLink& link)
    : QueueWorker(setup, std::move(queue)), link_(link), chain_(kMaxQueueSize) {}

void StreamTxQueue::serve() {
    if (!running() || sending_ || waiting_) return;
    if (link_.up() && !link_.stream().rest.left().empty()) return send_rest();
    queue_.disable_notifications();
    for (;;) {
        const bool more = gather();
        if (frame_count_ > 0) return send_frames();
        if (held_) return;                               // no doorbell is needed: the throttle wakes it
        if (more) return setup_.engine.schedule(*this);  // the engine's other devices come first
        if (!running() || !queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

bool StreamTxQueue::gather() {
    frame_count_ = vector_count_ = frame_bytes_ = 0;
    held_ = false;
    for (std::uint16_t left = queue_.size(); left > 0; --left) {
        if (frame_count_ == kMaxFrames || !admitted()) return true;
        const auto popped = queue_.pop(chain_);
        if (!popped) {
            // It stays at fault: what came before goes out first.
            if (frame_count_ == 0) break_down(virtio::fault_text(popped.error()));
            return false;
        }
        if (!*popped) return false;
        const Verdict verdict = judge();
        // Those before it may have to go back, which only the latest can; or there is no room beside them.
        if (frame_count_ > 0 && (verdict != Verdict::kFrame || !fits())) {
            queue_.unpop(chain_.head());
            return true;
        }
        if (verdict == Verdict::kFrame) {
            add();
            continue;
        }
        (verdict == Verdict::kError ? setup_.metrics.errors : setup_.metrics.dropped).add(1);
        queue_.push_used(chain_.head(), 0);
    }
    return true;
}

bool StreamTxQueue::admitted() {
    Throttle& throttle = setup_.backend.tx;
    if (!throttle.limited() || !link_.up() || !setup_.backend.link_up.load(std::memory_order_relaxed))
        return true;
    if (!queue_.has_available()) return true;
    if (frame_count_ > 0) return throttle.covers(frame_count_, frame_bytes_);
    held_ = !throttle.admit(*this, setup_.metrics.throttled);
    return !held_;
}

StreamTxQueue::Verdict StreamTxQueue::judge() const {
    const std::size_t bytes = chain_.readable_bytes();
    if (chain_.writable_bytes() != 0 || bytes < sizeof(Header) + kMinFrame) return Verdict::kError;
    // The other end would take neither.
    if (bytes - sizeof(Header) > kMaxSentFrame || chain_.readable().size() >= kMaxVectors)
        return Verdict::kError;
    const bool out = link_.up() && setup_.backend.link_up.load(std::memory_order_relaxed);
    return out ? Verdict::kFrame : Verdict::kDropped;
}

bool StreamTxQueue::fits() const {
    return chain_.readable().size() + 1 <= kMaxVectors - vector_count_ &&
           frame_bytes_ + chain_.readable_bytes() - sizeof(Header) + (frame_count_ + 1) * kLengthBytes <=
               kMaxBytes;
}

void StreamTxQueue::add() {
    Frame& frame = frames_[frame_count_++];
    frame.head = chain_.head();
    frame.length = chain_.readable_bytes() - std::uint32_t{sizeof(Header)};
    frame.length_on_wire = __builtin_bswap32(frame.length);
    frame.first_vector = vector_count_;
    frame_bytes_ += frame.length;
    vectors_[vector_count_++] = {.iov_base = &frame.length_on_wire, .iov_len = kLengthBytes};
    // The header stays here: no offload was offered, so there is nothing in it.
    std::size_t skip = sizeof(Header);
    for (const Segment& segment : chain_.readable()) {
        const std::size_t skipped = std::min<std::size_t>(skip, segment.length);
        skip -= skipped;
        if (skipped == segment.length) continue;
        vectors_[vector_count_++] = {.iov_base = segment.host + skipped, .iov_len = segment.length - skipped};
    }
}

void StreamTxQueue::send_frames() {
    message_ = {};
    message_.msg_iov = vectors_.data();
    message_.msg_iovlen = vector_count_;
    prepare_send();
}

void StreamTxQueue::send_rest() {
    const auto left = link_.stream().rest.left();
    rest_vector_ = {.iov_base = const_cast<std::byte*>(left.data()), .iov_len = left.size()};
    message_ = {};
    message_.msg_iov = &rest_vector_;
    message_.msg_iovlen = 1;
    frame_count_ = 0;
    prepare_send();
}

void StreamTxQueue::prepare_send() {
    io_uring_sqe& entry = setup_.engine.prepare(&send_);
    io_uring_prep_sendmsg(&entry, link_.file().fd, &message_, MSG_DONTWAIT | MSG_NOSIGNAL);
    entry.flags |= link_.file().sqe_flags();
    sending_ = true;
    link_.began();
}

void StreamTxQueue::sent(std::int32_t result) {
    sending_ = false;
    link_.ended();
    setup_.engine.schedule(*this);
    if (result == -EINTR || result == -ECANCELED) result = 0;
    if (result < 0 && result != -EAGAIN) {
        link_.lost(errno_text(-result));
        return refused();
    }
    const auto bytes = static_cast<std::size_t>(std::max(result, 0));
    if (frame_count_ == 0) {
        link_.stream().rest.sent(bytes);
    } else {
        sent_frames(bytes);
    }
    if (result == -EAGAIN || !link_.stream().rest.left().empty()) wait_for_room();
}

void StreamTxQueue::sent_frames(std::size_t bytes) {
    std::size_t done = 0;
    for (; done < frame_count_ && bytes > 0; ++done) {
        const Frame& frame = frames_[done];
        const std::size_t whole = kLengthBytes + frame.length;
        if (bytes < whole) keep_rest(frame, bytes);
        bytes -= std::min(bytes, whole);
        queue_.push_used(frame.head, 0);
        setup_.metrics.packets.add(1);
        setup_.metrics.bytes.add(frame.length);
        setup_.backend.tx.take(frame.length);
    }
    while (frame_count_ > done)
        queue_.unpop(frames_[--frame_count_].head);
    frame_count_ = 0;
}

void StreamTxQueue::keep_rest(const Frame& frame, std::size_t sent) {
    const auto room = link_.stream().rest.room();
    std::size_t kept = 0;
    std::size_t skip = sent;
    for (std::size_t i = frame.first_vector, left = kLengthBytes + frame.length; left > 0; ++i) {
        const iovec& part = vectors_[i];
        const std::size_t skipped = std::min(skip, part.iov_len);
        const std::size_t count = part.iov_len - skipped;
        std::memcpy(room.data() + kept, static_cast<const std::byte*>(part.iov_base) + skipped, count);
        kept += count;
        skip -= skipped;
        left -= part.iov_len;
    }
    link_.stream().rest.filled(kept);
}

/// The connection is lost, and a network loses packets.
void StreamTxQueue::refused() {
    for (std::size_t i = 0; i < frame_count_; ++i) {
        queue_.push_used(frames_[i].head, 0);
        setup_.metrics.dropped.add(1);
    }
    frame_count_ = 0;
}

void StreamTxQueue::wait_for_room() {
    if (!running() || !link_.up()) return;
    io_uring_sqe& entry = setup_.engine.prepare(&room_);
    io_uring_prep_poll_add(&entry, link_.file().fd, POLLOUT);
    entry.flags |= link_.file().sqe_flags();
    waiting_ = true;
    link_.began();
}

void StreamTxQueue::has_room() {
    waiting_ = false;
    link_.ended();
    setup_.engine.schedule(*this);
}

void StreamTxQueue::cancel_waiting() {
    setup_.backend.tx.leave(*this);
    if (waiting_)
        io_uring_prep_cancel(&setup_.engine.prepare(nullptr), static_cast<io::Completion*>(&room_), 0);
}

}  // namespace hako::virtio::net
