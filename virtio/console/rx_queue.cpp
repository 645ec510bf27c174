#include "virtio/console/rx_queue.h"

#include <span>
#include <utility>

namespace hako::virtio::console {

RxQueue::RxQueue(const QueueSetup& setup, Queue queue, GuestPort& port)
    : QueueWorker(setup, std::move(queue)), port_(port) {}

void RxQueue::serve() {
    if (std::exchange(short_, false)) port_.input_wanted();
}

std::size_t RxQueue::receive(std::span<const std::uint8_t> bytes) {
    std::size_t done = 0;
    queue_.disable_notifications();
    while (done < bytes.size() && running() && take_chain())
        done += fill(bytes.subspan(done));
    short_ = done < bytes.size();
    if (done > 0) setup_.engine.schedule(*this);  // shows it to the driver
    return done;
}

/// False: there are no buffers, and the driver kicks when it offers some; or the queue is broken.
bool RxQueue::take_chain() {
    auto popped = queue_.pop(chain_);
    if (popped && !*popped && queue_.enable_notifications()) {
        queue_.disable_notifications();
        popped = queue_.pop(chain_);
    }
    if (!popped) return break_down(fault_text(popped.error())), false;
    if (!*popped) return false;
    if (chain_.readable_bytes() == 0 && chain_.writable_bytes() != 0) return true;
    queue_.forget(chain_.head());
    return break_down("a receive buffer is not for the device to write"), false;
}

std::size_t RxQueue::fill(std::span<const std::uint8_t> bytes) {
    const std::uint32_t done = chain_.write(setup_.memory, std::as_bytes(bytes));
    queue_.push_used(chain_.head(), done);
    setup_.metrics.chains.add(1);
    setup_.metrics.bytes.add(done);
    return done;
}

}  // namespace hako::virtio::console
