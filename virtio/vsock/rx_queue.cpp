#include "virtio/vsock/rx_queue.h"

#include <algorithm>
#include <cstring>

namespace hako::virtio::vsock {
namespace {

/// Bytes after which a batch ends, so that the engine's other devices come in between.
constexpr std::uint32_t kBatchBytes = 256 * 1024;

}  // namespace

RxQueue::RxQueue(const QueueSetup& setup, Queue queue, Multiplexer& multiplexer)
    : QueueWorker(setup, std::move(queue)), multiplexer_(multiplexer) {}

void RxQueue::serve() {
    std::uint16_t left = queue_.size();
    for (std::uint32_t bytes = 0; multiplexer_.has_packet();) {
        if (left == 0 || bytes >= kBatchBytes) return setup_.engine.schedule(*this);
        if (!take_chain()) return;
        const Packet packet = multiplexer_.packet(chain_.writable_bytes() - sizeof(Header));
        put(packet);
        bytes += packet.header.len;
        --left;
        multiplexer_.delivered(packet);
    }
}

/// False: there are no buffers, and the driver kicks when it offers some; or the queue is broken.
bool RxQueue::take_chain() {
    queue_.disable_notifications();
    auto popped = queue_.pop(chain_);
    if (popped && !*popped && queue_.enable_notifications()) {
        queue_.disable_notifications();
        popped = queue_.pop(chain_);
    }
    if (!popped) return break_down(fault_text(popped.error())), false;
    if (!*popped) {
        setup_.metrics.waits.add(1);
        return false;
    }
    // Room for some payload: a packet without any would not bring the stream on.
    if (chain_.readable_bytes() == 0 && chain_.writable_bytes() > sizeof(Header)) return true;
    queue_.forget(chain_.head());
    return break_down("a receive buffer is not for the device to write, or has no room behind a header"),
           false;
}

void RxQueue::put(const Packet& packet) {
    // The header, then the payload, however the buffer is cut.
    std::span<const std::byte> source = std::as_bytes(std::span(&packet.header, 1));
    bool in_header = true;
    for (const Segment& segment : chain_.writable()) {
        std::size_t done = 0;
        while (done < segment.length) {
            if (source.empty() && std::exchange(in_header, false)) source = packet.payload;
            const std::size_t count = std::min<std::size_t>(segment.length - done, source.size());
            if (count == 0) break;
            std::memcpy(segment.host + done, source.data(), count);
            source = source.subspan(count);
            done += count;
        }
        if (done == 0) break;
        setup_.memory.mark_dirty(segment.address, done);
    }
    queue_.push_used(chain_.head(), std::uint32_t{sizeof(Header)} + packet.header.len);
    setup_.metrics.packets.add(1);
    setup_.metrics.bytes.add(packet.header.len);
}

}  // namespace hako::virtio::vsock
