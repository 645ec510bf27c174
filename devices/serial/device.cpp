#include "devices/serial/device.h"

#include <algorithm>
#include <array>
#include <utility>

namespace hako::serial {
namespace {

// Register offsets; with DLAB set, 0 and 1 are the divisor latch.
constexpr std::uint64_t kData = 0;  // RBR when read, THR when written, DLL
constexpr std::uint64_t kIer = 1;   // DLM
constexpr std::uint64_t kIir = 2;   // FCR when written
constexpr std::uint64_t kLcr = 3;
constexpr std::uint64_t kMcr = 4;
constexpr std::uint64_t kLsr = 5;
constexpr std::uint64_t kMsr = 6;
constexpr std::uint64_t kScr = 7;

constexpr std::uint8_t kIerReceived = 0x01;
constexpr std::uint8_t kIerThrEmpty = 0x02;
constexpr std::uint8_t kIerLineStatus = 0x04;
constexpr std::uint8_t kIerModemStatus = 0x08;
constexpr std::uint8_t kIerBits = 0x0f;

constexpr std::uint8_t kIirModemStatus = 0x00;
constexpr std::uint8_t kIirNone = 0x01;
constexpr std::uint8_t kIirThrEmpty = 0x02;
constexpr std::uint8_t kIirReceived = 0x04;
constexpr std::uint8_t kIirLineStatus = 0x06;
constexpr std::uint8_t kIirTimeout = 0x0c;
constexpr std::uint8_t kIirFifosEnabled = 0xc0;

constexpr std::uint8_t kFcrEnable = 0x01;
constexpr std::uint8_t kFcrClearRx = 0x02;
constexpr std::uint8_t kFcrTrigger = 0xc0;

constexpr std::uint8_t kLcrDlab = 0x80;

constexpr std::uint8_t kMcrDtr = 0x01;
constexpr std::uint8_t kMcrRts = 0x02;
constexpr std::uint8_t kMcrOut1 = 0x04;
constexpr std::uint8_t kMcrOut2 = 0x08;
constexpr std::uint8_t kMcrLoop = 0x10;
constexpr std::uint8_t kMcrBits = 0x1f;

constexpr std::uint8_t kLsrDataReady = 0x01;
constexpr std::uint8_t kLsrOverrun = 0x02;
constexpr std::uint8_t kLsrThrEmpty = 0x20;
constexpr std::uint8_t kLsrTransmitterEmpty = 0x40;

constexpr std::uint8_t kMsrCts = 0x10;
constexpr std::uint8_t kMsrDsr = 0x20;
constexpr std::uint8_t kMsrRi = 0x40;
constexpr std::uint8_t kMsrDcd = 0x80;
constexpr std::uint8_t kMsrDeltas = 0x0f;

constexpr std::array<std::size_t, 4> kTriggerLevels = {1, 4, 8, 14};

}  // namespace

Device::Device(IrqLine irq, console::Sink& sink, const std::optional<State>& state)
    : irq_(std::move(irq)), sink_(sink), state_(state.value_or(State{})) {
    // A saved state comes from a file or a peer: whatever it says, no register leaves its bits.
    state_.ier &= kIerBits;
    state_.fcr &= kFcrEnable | kFcrTrigger;
    state_.mcr &= kMcrBits;
    state_.lsr_errors &= kLsrOverrun;
    state_.msr_deltas &= kMsrDeltas;
    state_.rx.resize(std::min(state_.rx.size(), fifo_capacity()));
    state_.tx.resize(std::min(state_.tx.size(), kFifoSize));
    state_.rx.reserve(kFifoSize);
    state_.tx.reserve(kFifoSize);
}

void Device::read(std::uint64_t offset, std::span<std::byte> data) {
    bool wants_input = false;
    {
        const std::lock_guard lock(mutex_);
        // A wide access is one to each register in turn, as on an 8-bit bus.
        for (std::byte& byte : data)
            byte = static_cast<std::byte>(read_register(offset++));
        edge_sent_ = false;
        wants_input = input_refused_ && state_.rx.empty();
        if (wants_input) input_refused_ = false;
    }
    if (wants_input) sink_.input_wanted();
}

void Device::write(std::uint64_t offset, std::span<const std::byte> data) {
    bool wants_input = false;
    {
        const std::lock_guard lock(mutex_);
        for (const std::byte byte : data)
            write_register(offset++, std::to_integer<std::uint8_t>(byte));
        wants_input = input_refused_ && state_.rx.empty();
        if (wants_input) input_refused_ = false;
    }
    if (wants_input) sink_.input_wanted();
}

std::size_t Device::receive(std::span<const std::uint8_t> bytes) {
    const std::lock_guard lock(mutex_);
    // In loopback the receiver is cut off from the line: input waits until the guest ends its test.
    const std::size_t room = loopback() ? 0 : fifo_capacity() - state_.rx.size();
    const std::size_t taken = std::min(room, bytes.size());
    state_.rx.insert(state_.rx.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    if (taken < bytes.size()) input_refused_ = true;
    if (taken > 0) update_interrupt();
    return taken;
}

void Device::writable() {
    const std::lock_guard lock(mutex_);
    if (!state_.tx.empty()) drain_tx();
    // An edge from before a restore may not have arrived.
    update_interrupt();
}

State Device::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

bool Device::fifo_enabled() const {
    return (state_.fcr & kFcrEnable) != 0;
}
bool Device::loopback() const {
    return (state_.mcr & kMcrLoop) != 0;
}
std::size_t Device::fifo_capacity() const {
    return fifo_enabled() ? kFifoSize : 1;
}

std::uint8_t Device::interrupt_id() const {
    if ((state_.ier & kIerLineStatus) != 0 && state_.lsr_errors != 0) return kIirLineStatus;
    if ((state_.ier & kIerReceived) != 0 && !state_.rx.empty()) {
        const std::size_t trigger = fifo_enabled() ? kTriggerLevels[state_.fcr >> 6] : 1;
        return state_.rx.size() >= trigger ? kIirReceived : kIirTimeout;
    }
    if ((state_.ier & kIerThrEmpty) != 0 && state_.thr_empty_pending) return kIirThrEmpty;
    if ((state_.ier & kIerModemStatus) != 0 && state_.msr_deltas != 0) return kIirModemStatus;
    return kIirNone;
}

/// Bits 4 to 7 of MSR: the far end is always there, or in loopback the UART's own outputs.
std::uint8_t Device::modem_lines() const {
    if (!loopback()) return kMsrCts | kMsrDsr | kMsrDcd;
    std::uint8_t lines = 0;
    if ((state_.mcr & kMcrRts) != 0) lines |= kMsrCts;
    if ((state_.mcr & kMcrDtr) != 0) lines |= kMsrDsr;
    if ((state_.mcr & kMcrOut1) != 0) lines |= kMsrRi;
    if ((state_.mcr & kMcrOut2) != 0) lines |= kMsrDcd;
    return lines;
}

/// Called after every change. A real UART's line stays up while anything is pending, so that the guest gets
/// one edge for a burst; here one edge is sent, and no other until the guest has read a register or nothing
/// is pending. A guest whose handler looks once per edge thus still gets an edge for the next event.
void Device::update_interrupt() {
    // OUT2 drives the gate between the UART and the PC's interrupt line; loopback disconnects it.
    const bool gate = (state_.mcr & kMcrOut2) != 0 && !loopback();
    if (!gate || interrupt_id() == kIirNone) {
        edge_sent_ = false;
    } else if (!edge_sent_) {
        edge_sent_ = true;
        irq_.pulse();
    }
}

std::uint8_t Device::read_register(std::uint64_t offset) {
    const bool dlab = (state_.lcr & kLcrDlab) != 0;
    switch (offset) {
        case kData: {
            if (dlab) return state_.dll;
            if (state_.rx.empty()) return 0;
            const std::uint8_t byte = state_.rx.front();
            state_.rx.erase(state_.rx.begin());
            return byte;
        }
        case kIer:
            return dlab ? state_.dlm : state_.ier;
        case kIir: {
            const std::uint8_t id = interrupt_id();
            if (id == kIirThrEmpty) state_.thr_empty_pending = false;
            return id | (fifo_enabled() ? kIirFifosEnabled : std::uint8_t{0});
        }
        case kLcr:
            return state_.lcr;
        case kMcr:
            return state_.mcr;
        case kLsr: {
            std::uint8_t status = std::exchange(state_.lsr_errors, std::uint8_t{0});
            if (!state_.rx.empty()) status |= kLsrDataReady;
            if (state_.tx.empty()) status |= kLsrThrEmpty | kLsrTransmitterEmpty;
            return status;
        }
        case kMsr:
            return modem_lines() | std::exchange(state_.msr_deltas, std::uint8_t{0});
        case kScr:
            return state_.scr;
        default:
            return 0xff;
    }
}

void Device::write_register(std::uint64_t offset, std::uint8_t value) {
    const bool dlab = (state_.lcr & kLcrDlab) != 0;
    switch (offset) {
        case kData:
            if (dlab) {
                state_.dll = value;
            } else {
                transmit(value);
            }
            break;
        case kIer:
            if (dlab) {
                state_.dlm = value;
                break;
            }
            // Enabling the transmitter interrupt while there is room raises it: drivers start sending that
            // way.
            if ((value & ~state_.ier & kIerThrEmpty) != 0 && state_.tx.empty())
                state_.thr_empty_pending = true;
            state_.ier = value & kIerBits;
            update_interrupt();
            break;
        case kIir:
            set_fifo_control(value);
            break;
        case kLcr:
            state_.lcr = value;
            break;
        case kMcr:
            set_modem_control(value);
            break;
        case kScr:
            state_.scr = value;
            break;
        default:  // LSR and MSR are for factory tests only
            break;
    }
}

void Device::transmit(std::uint8_t byte) {
    state_.thr_empty_pending = false;
    if (loopback()) {
        if (state_.rx.size() < fifo_capacity()) {
            state_.rx.push_back(byte);
        } else {
            state_.lsr_errors |= kLsrOverrun;
            // With FIFOs the newest byte is lost in the shift register, without the old one is overwritten.
            if (!fifo_enabled()) state_.rx.back() = byte;
        }
        state_.thr_empty_pending = true;
        update_interrupt();
        return;
    }
    if (state_.tx.size() >= fifo_capacity()) {
        // The guest was told that there is no room (LSR.THRE), and wrote all the same.
        lost_limit_.warn("serial console: its reader lags, and the guest no longer waits: output is lost");
        return;
    }
    state_.tx.push_back(byte);
    drain_tx();
}

void Device::drain_tx() {
    std::size_t sent = 0;
    while (sent < state_.tx.size() && sink_.put(state_.tx[sent]))
        ++sent;
    state_.tx.erase(state_.tx.begin(), state_.tx.begin() + static_cast<std::ptrdiff_t>(sent));
    if (!state_.tx.empty()) return;
    state_.thr_empty_pending = true;
    update_interrupt();
}

void Device::set_fifo_control(std::uint8_t value) {
    const bool enable = (value & kFcrEnable) != 0;
    // What was sent stays sent, even where the data sheet clears the transmit FIFO: it is not lost to a slow
    // reader.
    if (enable != fifo_enabled() || (enable && (value & kFcrClearRx) != 0)) state_.rx.clear();
    // With bit 0 clear the other bits are not taken.
    state_.fcr = enable ? static_cast<std::uint8_t>(value & (kFcrEnable | kFcrTrigger)) : std::uint8_t{0};
    update_interrupt();
}

void Device::set_modem_control(std::uint8_t value) {
    const std::uint8_t before = modem_lines();
    state_.mcr = value & kMcrBits;
    const std::uint8_t after = modem_lines();
    std::uint8_t deltas = (before ^ after) >> 4;
    // Ring is reported at its trailing edge only (TERI).
    if ((before & kMsrRi) == 0 || (after & kMsrRi) != 0) deltas &= static_cast<std::uint8_t>(~0x04U);
    state_.msr_deltas |= deltas;
    update_interrupt();
}

}  // namespace hako::serial
