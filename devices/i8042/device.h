// The keyboard controller, for its reset line: nothing is plugged into it.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "devices/i8042/state.h"
#include "devices/platform_events.h"
#include "vmm/bus/bus.h"

namespace hako::i8042 {

/// Ports 0x60 (data) to 0x64 (status, command), from layout::kPortI8042. 0x61 belongs to KVM's PIT, where
/// there is one.
inline constexpr std::uint64_t kPorts = 5;

/// Answers the controller's own commands at once, so that no probe waits for a timeout; keyboard and mouse
/// never answer. No interrupts. Safe from any thread.
class Device final : public BusDevice {
  public:
    explicit Device(PlatformEvents& events, const std::optional<State>& state = std::nullopt);

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

    [[nodiscard]] State state() const;

  private:
    [[nodiscard]] std::uint8_t read_port(std::uint64_t offset);
    /// True if the guest pulled the reset line.
    [[nodiscard]] bool write_port(std::uint64_t offset, std::uint8_t value);
    [[nodiscard]] bool command(std::uint8_t command);
    [[nodiscard]] bool data(std::uint8_t value);
    void answer(std::uint8_t value);

    PlatformEvents& events_;
    mutable std::mutex mutex_;
    State state_;
};

}  // namespace hako::i8042
