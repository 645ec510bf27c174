// The CMOS real-time clock: tells the guest the host's time once, at boot.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "devices/rtc/state.h"
#include "vmm/bus/bus.h"

namespace hako::rtc {

inline constexpr std::uint64_t kPorts = 2;  ///< index and data, from layout::kPortRtc

struct Config {
    /// Seconds since 1970 (UTC). Unset: the host's clock.
    std::function<std::int64_t()> now;
};

/// Motorola MC146818 with the PC's century byte at 0x32. Without interrupts: no alarm, no periodic tick.
/// Setting the time keeps an offset to the host's clock. Safe from any thread.
class Device final : public BusDevice {
  public:
    explicit Device(Config config = {}, const std::optional<State>& state = std::nullopt);

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

    [[nodiscard]] State state() const;

  private:
    [[nodiscard]] std::uint8_t read_register(std::uint8_t index);
    void write_register(std::uint8_t index, std::uint8_t value);
    void load_time();
    void store_time();

    Config config_;
    mutable std::mutex mutex_;
    State state_;
};

}  // namespace hako::rtc
