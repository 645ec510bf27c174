#include "virtio/net/stream_rx_queue.h"

#include <cerrno>
#include <utility>

namespace hako::virtio::net {

StreamRxQueue::StreamRxQueue(const QueueSetup& setup, Queue queue, StreamLink& link)
    : QueueWorker(setup, std::move(queue)), link_(link), delivery_(setup_, queue_) {}

void StreamRxQueue::serve() {
    // Draining delivers what was read already: a migration would lose it.
    if (!running() && !draining()) return;
    if (!deliver_all() || reading_ || !running() || !link_.up()) return;
    read();
}

void StreamRxQueue::read() {
    const auto room = link_.stream().received.room();
    io_uring_sqe& entry = setup_.engine.prepare(&read_);
    io_uring_prep_recv(&entry, link_.file().fd, room.data(), room.size(), 0);
    entry.flags |= link_.file().sqe_flags();
    reading_ = true;
    link_.began();
}

void StreamRxQueue::cancel_waiting() {
    if (reading_)
        io_uring_prep_cancel(&setup_.engine.prepare(nullptr), static_cast<io::Completion*>(&read_), 0);
}

void StreamRxQueue::completed(std::int32_t result) {
    reading_ = false;
    link_.ended();
    setup_.engine.schedule(*this);
    if (result > 0) return link_.stream().received.filled(static_cast<std::size_t>(result));
    if (result == -ECANCELED || result == -EINTR) return;
    link_.lost(result == 0 ? "closed by its other end" : errno_text(-result));
}

bool StreamRxQueue::deliver_all() {
    FrameBuffer& received = link_.stream().received;
    queue_.disable_notifications();
    while (link_.up()) {
        const auto frame = received.next();
        if (!frame) {
            if (frame.error() == FrameBuffer::NoFrame::kIncomplete) return true;
            link_.lost(fmt::format("its other end sent a frame length of {}, not {} to {}", received.length(),
                                   kMinFrame, kMaxReceivedFrame));
            return true;
        }
        link_.proven();
        if (!setup_.backend.link_up.load(std::memory_order_relaxed)) {
            delivery_.drop();
        } else if (const auto outcome = delivery_.deliver({}, *frame);
                   outcome != PacketDelivery::Outcome::kDone) {
            if (outcome == PacketDelivery::Outcome::kBroken) break_down(delivery_.fault());
            return false;
        }
        received.pop();
    }
    return true;
}

}  // namespace hako::virtio::net
