#include "virtio/vsock/event_queue.h"

#include <cstring>

#include "virtio/vsock/protocol.h"

namespace hako::virtio::vsock {

EventQueue::EventQueue(const QueueSetup& setup, Queue queue, bool reset)
    : QueueWorker(setup, std::move(queue)), reset_(reset) {}

void EventQueue::serve() {
    if (!reset_) return;
    auto popped = queue_.pop(chain_);
    if (popped && !*popped && queue_.enable_notifications()) popped = queue_.pop(chain_);
    if (!popped) return break_down(fault_text(popped.error()));
    if (!*popped) return;
    const Event event{.id = kTransportReset};
    const auto buffer = chain_.writable();
    if (chain_.readable_bytes() != 0 || buffer.empty() || buffer[0].length < sizeof event) {
        queue_.forget(chain_.head());
        return break_down("an event buffer is not for the device to write, or too short");
    }
    std::memcpy(buffer[0].host, &event, sizeof event);
    setup_.memory.mark_dirty(buffer[0].address, sizeof event);
    queue_.push_used(chain_.head(), sizeof event);
    setup_.metrics.packets.add(1);
    reset_ = false;
}

}  // namespace hako::virtio::vsock
