#include "virtio/console/tx_queue.h"

#include <algorithm>

namespace hako::virtio::console {
namespace {

/// Bytes after which a batch ends, so that the engine's other devices come in between.
constexpr std::uint32_t kBatchBytes = 256 * 1024;

}  // namespace

TxQueue::TxQueue(const QueueSetup& setup, Queue queue, GuestPort& port)
    : QueueWorker(setup, std::move(queue)), port_(port) {}

void TxQueue::serve() {
    queue_.disable_notifications();
    std::uint16_t left = queue_.size();
    for (std::uint32_t bytes = 0;;) {
        for (; left > 0 && bytes < kBatchBytes; --left) {
            const auto popped = queue_.pop(chain_);
            if (!popped) return break_down(fault_text(popped.error()));
            if (!*popped) break;
            bytes += std::min(chain_.readable_bytes(), kBatchBytes);
            // No doorbell is needed meanwhile: the host's end calls when it has room.
            if (!write_out()) return;
        }
        if (left == 0 || bytes >= kBatchBytes) return setup_.engine.schedule(*this);
        if (!queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

/// Gives the popped chain's bytes to the host's end. False: it has no room for all of them.
bool TxQueue::write_out() {
    const std::uint16_t head = chain_.head();
    std::uint32_t& taken = port_.state.tx_taken;
    if (chain_.writable_bytes() != 0 || chain_.readable_bytes() == 0) {
        // Not for a transmit queue (virtio 1.3, 5.3.6.1), but it can be given back all the same.
        setup_.metrics.errors.add(1);
    } else if (port_.backend() != nullptr) {
        std::uint32_t skip = taken;
        for (const Segment& segment : chain_.readable()) {
            const std::uint32_t skipped = std::min(skip, segment.length);
            skip -= skipped;
            if (skipped == segment.length) continue;
            const std::span bytes(reinterpret_cast<const std::uint8_t*>(segment.host) + skipped,
                                  segment.length - skipped);
            const std::size_t written = port_.backend()->write(bytes);
            taken += static_cast<std::uint32_t>(written);
            setup_.metrics.bytes.add(written);
            if (written == bytes.size()) continue;
            queue_.unpop(head);
            setup_.metrics.waits.add(1);
            return false;
        }
    }
    taken = 0;
    queue_.push_used(head, 0);
    setup_.metrics.chains.add(1);
    return true;
}

}  // namespace hako::virtio::console
