// The serial port: a 16550A UART whose bytes take no time.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "devices/console/sink.h"
#include "devices/serial/state.h"
#include "vmm/base/log.h"
#include "vmm/bus/bus.h"
#include "vmm/bus/interrupts.h"

namespace hako::serial {

inline constexpr std::uint64_t kPorts = 8;  ///< from layout::kPortSerial
inline constexpr std::size_t kFifoSize = 16;

/// National Semiconductor PC16550D. Differences a guest can see: there is no baud rate, so the receive
/// timeout interrupt is due as soon as a byte waits below the trigger level; parity, framing and break never
/// fail.
///
/// "Transmitter empty" (LSR.THRE) is withheld while the sink has no room, so that a patient guest loses
/// nothing. Interrupts are edges on the ISA line, gated by MCR.OUT2 as on a PC. Safe from any thread.
class Device final : public BusDevice, public console::Port {
  public:
    /// The sink must outlive the device.
    Device(IrqLine irq, console::Sink& sink, const std::optional<State>& state = std::nullopt);

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

    std::size_t receive(std::span<const std::uint8_t> bytes) override;
    void writable() override;

    [[nodiscard]] State state() const;

  private:
    [[nodiscard]] std::uint8_t read_register(std::uint64_t offset);
    void write_register(std::uint64_t offset, std::uint8_t value);

    [[nodiscard]] bool fifo_enabled() const;
    [[nodiscard]] bool loopback() const;
    [[nodiscard]] std::size_t fifo_capacity() const;
    [[nodiscard]] std::uint8_t interrupt_id() const;
    [[nodiscard]] std::uint8_t modem_lines() const;
    void update_interrupt();
    void transmit(std::uint8_t byte);
    void drain_tx();
    void set_fifo_control(std::uint8_t value);
    void set_modem_control(std::uint8_t value);

    IrqLine irq_;
    console::Sink& sink_;
    mutable std::mutex mutex_;
    State state_;
    bool input_refused_ = false;  ///< the backend holds input that found no room
    bool edge_sent_ = false;      ///< and the guest has read no register since
    LogLimit lost_limit_;
};

}  // namespace hako::serial
