#include "virtio/console/control_queues.h"

#include <array>
#include <bit>

namespace hako::virtio::console {
namespace {

/// More at a wake-up and the engine's other devices come first.
constexpr int kBatch = 64;

DeviceMessage message_of(const GuestPort& port, std::uint8_t kind) {
    switch (kind) {
        case message::kConsole:
            return {port.index(), Event::kConsolePort, 1};
        case message::kName:
            return DeviceMessage::name(port.index(), port.name());
        case message::kOpen:
            return {port.index(), Event::kPortOpen, port.host_open() ? std::uint16_t{1} : std::uint16_t{0}};
        case message::kResize:
            return DeviceMessage::resize(port.index(), port.backend()->size());
        default:
            return {port.index(), Event::kPortAdd, 0};
    }
}

}  // namespace

ControlRxQueue::ControlRxQueue(const QueueSetup& setup, Queue queue, const Ports& ports)
    : QueueWorker(setup, std::move(queue)), ports_(ports) {}

void ControlRxQueue::serve() {
    for (const auto& port : ports_) {
        while (port->state.pending != 0) {
            if (!send(*port)) return;
        }
    }
}

/// Sends the port's next message. False: there is no buffer, and the driver kicks when it offers one.
bool ControlRxQueue::send(GuestPort& port) {
    const auto kind = static_cast<std::uint8_t>(1U << std::countr_zero(port.state.pending));
    auto popped = queue_.pop(chain_);
    if (popped && !*popped && queue_.enable_notifications()) popped = queue_.pop(chain_);
    if (!popped) return break_down(fault_text(popped.error())), false;
    if (!*popped) return false;
    if (chain_.readable_bytes() != 0 || chain_.writable_bytes() < sizeof(Control)) {
        queue_.forget(chain_.head());
        return break_down("a control buffer is not for the device to write, or too short"), false;
    }
    port.state.pending &= static_cast<std::uint8_t>(~kind);
    return put(message_of(port, kind));
}

/// Of a message that is longer than the buffer the driver gets the beginning.
bool ControlRxQueue::put(const DeviceMessage& message) {
    const std::uint32_t done = chain_.write(setup_.memory, message.bytes());
    queue_.push_used(chain_.head(), done);
    setup_.metrics.chains.add(1);
    setup_.metrics.bytes.add(done);
    return true;
}

ControlTxQueue::ControlTxQueue(const QueueSetup& setup, Queue queue, const Ports& ports,
                               ControlSender& sender)
    : QueueWorker(setup, std::move(queue)), ports_(ports), sender_(sender) {}

void ControlTxQueue::serve() {
    for (int left = kBatch; left > 0; --left) {
        const auto popped = queue_.pop(chain_);
        if (!popped) return break_down(fault_text(popped.error()));
        if (*popped) {
            if (!obey()) {
                setup_.metrics.errors.add(1);
                log_.warn("virtio console: a control message of the driver makes no sense");
            }
            queue_.push_used(chain_.head(), 0);
            setup_.metrics.chains.add(1);
        } else if (!queue_.enable_notifications()) {
            return;
        }
    }
    setup_.engine.schedule(*this);
}

bool ControlTxQueue::obey() {
    std::array<std::byte, sizeof(Control)> bytes{};
    if (chain_.writable_bytes() != 0 || chain_.readable_bytes() != bytes.size()) return false;
    if (!chain_.take_readable(bytes)) return false;
    const auto message = parse_message(bytes, static_cast<std::uint16_t>(ports_.size()));
    return message && std::visit([this](const auto& known) { return obey(known); }, *message);
}

bool ControlTxQueue::obey(const DeviceReady& message) {
    if (!message.ready) {
        log_.warn("virtio console: its driver could not set it up");
        return true;
    }
    for (const auto& port : ports_) {
        // No port may be added twice (5.3.6.2.1).
        if (port->backend() == nullptr || port->state.added) continue;
        port->state.added = true;
        sender_.tell(port->index(), message::kAdd);
    }
    return true;
}

bool ControlTxQueue::obey(const PortReady& message) {
    GuestPort& port = *ports_[message.port];
    if (!port.state.added) return false;
    if (!message.ready) {
        log_.warn("virtio console: its driver could not set up port {}", message.port);
        port.state.ready = false;
        return true;
    }
    if (port.state.ready) return false;
    port.state.ready = true;
    std::uint8_t messages = message::kOpen | message::kResize;
    if (port.is_console()) messages |= message::kConsole;
    if (!port.name().empty()) messages |= message::kName;
    sender_.tell(port.index(), messages);
    return true;
}

bool ControlTxQueue::obey(const PortOpen& message) {
    GuestPort& port = *ports_[message.port];
    if (!port.state.added) return false;
    port.state.guest_open = message.open;
    if (message.open) port.input_wanted();
    return true;
}

}  // namespace hako::virtio::console
