#include "virtio/net/control_queue.h"

#include <array>

namespace hako::virtio::net {
namespace {

/// More at a wake-up and the engine's other devices come first.
constexpr int kBatch = 8;

}  // namespace

ControlQueue::ControlQueue(const QueueSetup& setup, Queue queue, ControlActions& actions,
                           std::uint16_t max_pairs)
    : QueueWorker(setup, std::move(queue)), actions_(actions), max_pairs_(max_pairs), chain_(kMaxQueueSize) {}

void ControlQueue::serve() {
    for (int left = kBatch; left > 0; --left) {
        if (!running()) return;  // an answer may have broken the device
        const auto popped = queue_.pop(chain_);
        if (!popped) return break_down(virtio::fault_text(popped.error()));
        if (*popped) {
            answer();
        } else if (!queue_.enable_notifications()) {
            return;
        }
    }
    setup_.engine.schedule(*this);
}

void ControlQueue::answer() {
    if (chain_.writable_bytes() == 0) {
        queue_.forget(chain_.head());  // there is no way to answer it
        return break_down("a control command has no room for its answer");
    }
    const ControlAck ack = obey();
    (ack == ControlAck::kOk ? setup_.metrics.packets : setup_.metrics.errors).add(1);
    const Segment& to = chain_.writable().front();
    *to.host = static_cast<std::byte>(ack);
    setup_.memory.mark_dirty(to.address, 1);
    queue_.push_used(chain_.head(), 1);
}

ControlAck ControlQueue::obey() {
    std::array<std::byte, kMaxControlBytes> bytes{};
    if (chain_.readable_bytes() > bytes.size()) return ControlAck::kError;
    const auto command_bytes = std::span(bytes).first(chain_.readable_bytes());
    if (!chain_.take_readable(command_bytes)) return ControlAck::kError;
    const auto command = parse_control(command_bytes, setup_.features, max_pairs_);
    if (!command) return ControlAck::kError;
    const bool done = std::visit([this](const auto& known) { return carry_out(known); }, *command);
    return done ? ControlAck::kOk : ControlAck::kError;
}

}  // namespace hako::virtio::net
