// pvpanic: one byte by which a guest kernel says that it has panicked. It has no state to save.
#pragma once

#include "devices/platform_events.h"
#include "vmm/bus/bus.h"

namespace hako::pvpanic {

inline constexpr std::uint64_t kPorts = 1;  ///< at layout::kPortPvpanic; the DSDT names it QEMU0001

inline constexpr std::uint8_t kPanicked = 1;     ///< bit 0
inline constexpr std::uint8_t kCrashLoaded = 2;  ///< bit 1

/// Reading gives the events known, writing reports one.
class Device final : public BusDevice {
  public:
    explicit Device(PlatformEvents& events) : events_(events) {}

    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

  private:
    PlatformEvents& events_;
};

}  // namespace hako::pvpanic
