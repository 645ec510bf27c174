#include "virtio/balloon/discard_queue.h"

#include <utility>

#include "virtio/balloon/config.h"

namespace hako::virtio::balloon {
namespace {

/// What a batch may cost, so that the engine's other devices come in between: a page, or what takes as long.
constexpr std::uint32_t kBudget = 512;

}  // namespace

void DiscardQueue::serve() {
    if (setup_.memory.discard_gate()->closed()) {
        if (queue_.has_available() && !timer_.active()) timer_.start(kLookAgain);
        return;
    }
    take_requests();
    flush();
}

void DiscardQueue::take_requests() {
    queue_.disable_notifications();
    for (std::uint32_t budget = kBudget;;) {
        while (budget > 0) {
            const auto popped = queue_.pop(chain_);
            if (!popped) return break_down(fault_text(popped.error()));
            if (!*popped) break;
            --budget;
            if (!take_piece(budget)) {
                queue_.unpop(chain_.head());
                budget = 0;
                break;
            }
            done_ = 0;
            setup_.metrics.requests.add(1);
            queue_.push_used(chain_.head(), 0);
        }
        if (budget == 0) return setup_.engine.schedule(*this);
        if (!queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

void DiscardQueue::discard(GuestAddress address, std::uint64_t length) {
    if (setup_.memory.discard(address, length)) setup_.metrics.discarded.add(length / kBalloonPage);
}

bool DiscardQueue::at_rest() {
    timer_.stop();
    return !timer_.active();
}

}  // namespace hako::virtio::balloon
