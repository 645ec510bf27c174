#include "vmm/bus/interrupts.h"

#include <utility>

#include "vmm/base/log.h"

namespace hako {

Result<IrqLine> IrqLine::create(InterruptController& controller, std::uint32_t gsi) {
    EventFd event = HAKO_TRY(EventFd::create());
    HAKO_TRY_WRAP(controller.connect(gsi, event.fd()), "interrupt line {}", gsi);
    return IrqLine(controller, gsi, std::move(event));
}

IrqLine::IrqLine(IrqLine&& other) noexcept
    : controller_(std::exchange(other.controller_, nullptr)),
      gsi_(other.gsi_),
      event_(std::move(other.event_)) {}

IrqLine::~IrqLine() {
    if (controller_ == nullptr) return;
    if (const auto done = controller_->disconnect(gsi_, event_.fd()); !done)
        log_warn("interrupt line {}: {}", gsi_, done.error().text());
}

Result<MsiVector> MsiVector::create(InterruptController& controller) {
    return MsiVector(controller, HAKO_TRY(EventFd::create()));
}

MsiVector::MsiVector(MsiVector&& other) noexcept
    : controller_(std::exchange(other.controller_, nullptr)),
      event_(std::move(other.event_)),
      gsi_(other.gsi_),
      has_gsi_(other.has_gsi_),
      connected_(other.connected_),
      message_(other.message_) {}

MsiVector::~MsiVector() {
    if (controller_ == nullptr || !has_gsi_) return;
    if (connected_) {
        if (const auto done = controller_->disconnect(gsi_, event_.fd()); !done)
            log_warn("MSI route {}: {}", gsi_, done.error().text());
    }
    controller_->free_gsi(gsi_);
}

Result<> MsiVector::configure(const MsiMessage& message, bool masked) {
    if (masked) {
        if (connected_) HAKO_TRY(controller_->disconnect(gsi_, event_.fd()));
        connected_ = false;
        return {};
    }
    const bool fresh = !has_gsi_;
    if (fresh) gsi_ = HAKO_TRY(controller_->allocate_gsi());
    has_gsi_ = true;
    if (fresh || message != message_) {
        HAKO_TRY(controller_->set_route(gsi_, message));
        message_ = message;  // only now: a route that was refused is tried again
    }
    if (!connected_) HAKO_TRY(controller_->connect(gsi_, event_.fd()));
    connected_ = true;
    return {};
}

}  // namespace hako
