// Interrupts into the guest: IOAPIC lines and MSI messages, each an irqfd that any thread may signal.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "vmm/base/eventfd.h"
#include "vmm/base/result.h"

namespace hako {

/// Address and data of a message-signalled interrupt (PCI 3.0, 6.8).
struct MsiMessage {
    std::uint64_t address = 0;
    std::uint32_t data = 0;

    bool operator==(const MsiMessage&) const = default;
};

/// What the interrupt controller (KVM; a recorder in unit tests) does for an event source.
class InterruptController {
  public:
    virtual ~InterruptController() = default;
    /// A GSI of its own for a new MSI route, or an error when the table is full.
    virtual Result<std::uint32_t> allocate_gsi() = 0;
    virtual void free_gsi(std::uint32_t gsi) = 0;
    /// Points an MSI GSI at `message`.
    virtual Result<> set_route(std::uint32_t gsi, const MsiMessage& message) = 0;
    /// Connects an eventfd to a GSI; a signal already pending in it is delivered at once (KVM_IRQFD).
    virtual Result<> connect(std::uint32_t gsi, int eventfd) = 0;
    virtual Result<> disconnect(std::uint32_t gsi, int eventfd) = 0;
};

/// An edge-triggered IOAPIC line.
class IrqLine {
  public:
    /// `gsi` is an IOAPIC pin (vmm/memory/layout.h). The controller must outlive the line.
    static Result<IrqLine> create(InterruptController& controller, std::uint32_t gsi);
    IrqLine(IrqLine&& other) noexcept;
    IrqLine& operator=(IrqLine&&) = delete;
    ~IrqLine();

    /// One edge.
    void pulse() const { event_.signal(); }
    [[nodiscard]] const EventFd& event() const { return event_; }

  private:
    IrqLine(InterruptController& controller, std::uint32_t gsi, EventFd event)
        : controller_(&controller), gsi_(gsi), event_(std::move(event)) {}

    InterruptController* controller_;
    std::uint32_t gsi_;
    EventFd event_;
};

/// One MSI or MSI-X vector. Signal its event from any thread; configure it from one thread at a time.
///
/// While masked the eventfd is not connected, so a signal stays pending in its counter (that is the PBA bit)
/// and is delivered by connect() on unmask: no signal is lost and the signalling side needs no check.
class MsiVector {
  public:
    static Result<MsiVector> create(InterruptController& controller);
    MsiVector(MsiVector&& other) noexcept;
    MsiVector& operator=(MsiVector&&) = delete;
    ~MsiVector();

    [[nodiscard]] const EventFd& event() const { return event_; }
    /// True if it was signalled while masked and not delivered yet.
    [[nodiscard]] bool pending() const { return !connected_ && event_.pending(); }

    /// Takes the message and the mask; a vector starts out masked.
    Result<> configure(const MsiMessage& message, bool masked);

  private:
    MsiVector(InterruptController& controller, EventFd event)
        : controller_(&controller), event_(std::move(event)) {}

    InterruptController* controller_;
    EventFd event_;
    std::uint32_t gsi_ = 0;  ///< valid once has_gsi_; taken on first use, so unused vectors cost no route
    bool has_gsi_ = false;
    bool connected_ = false;
    MsiMessage message_;
};

}  // namespace hako
