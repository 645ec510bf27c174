#include "virtio/vsock/tx_queue.h"

#include <algorithm>

namespace hako::virtio::vsock {
namespace {

/// Work after which a batch ends, so that the engine's other devices come in between: bytes, or what costs as
/// much.
constexpr std::uint32_t kBatchCost = 256 * 1024;
/// A request makes a socket and looks up a path.
constexpr std::uint32_t kRequestCost = 32 * 1024;

}  // namespace

TxQueue::TxQueue(const QueueSetup& setup, Queue queue, Multiplexer& multiplexer)
    : QueueWorker(setup, std::move(queue)), multiplexer_(multiplexer) {}

void TxQueue::serve() {
    take_packets();
    multiplexer_.flush();
}

void TxQueue::take_packets() {
    queue_.disable_notifications();
    std::uint16_t left = queue_.size();
    for (std::uint32_t cost = 0;;) {
        for (; left > 0 && cost < kBatchCost; --left) {
            // No doorbell is needed meanwhile: the multiplexer calls when it has room again.
            if (!multiplexer_.can_take()) {
                setup_.metrics.waits.add(1);
                return;
            }
            const auto popped = queue_.pop(chain_);
            if (!popped) return break_down(fault_text(popped.error()));
            if (!*popped) break;
            cost += take_packet();
            queue_.push_used(chain_.head(), 0);
        }
        if (left == 0 || cost >= kBatchCost) return setup_.engine.schedule(*this);
        if (!queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

/// Any chain can be given back; what it cost.
std::uint32_t TxQueue::take_packet() {
    Header header;
    if (chain_.writable_bytes() != 0 ||
        !chain_.take_readable(std::as_writable_bytes(std::span(&header, 1)))) {
        setup_.metrics.errors.add(1);
        return 0;
    }
    const bool has_payload = header.op == static_cast<std::uint16_t>(Operation::kReadWrite);
    if (has_payload && header.len > chain_.readable_bytes()) {
        setup_.metrics.errors.add(1);
        multiplexer_.refuse(header);
        return 0;
    }
    if (!multiplexer_.take(header, chain_)) {
        setup_.metrics.dropped.add(1);
        return 0;
    }
    setup_.metrics.packets.add(1);
    if (has_payload) setup_.metrics.bytes.add(header.len);
    if (header.op == static_cast<std::uint16_t>(Operation::kRequest)) return kRequestCost;
    return has_payload ? std::min(header.len, kBatchCost) : 0;
}

}  // namespace hako::virtio::vsock
