// A PCI watchdog timer as in Intel's 6300ESB, which guests have a driver for (Linux: i6300esb).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "devices/pci/function.h"
#include "devices/platform_events.h"
#include "devices/watchdog/config.h"
#include "devices/watchdog/countdown.h"
#include "devices/watchdog/metrics.h"
#include "devices/watchdog/registers.h"
#include "devices/watchdog/state.h"
#include "vmm/base/result.h"
#include "vmm/io/alarm.h"
#include "vmm/io/engine.h"

namespace hako::watchdog {

/// Once a guest has enabled it, it resets the machine (PlatformEvents::watchdog_expired()) unless the guest
/// reloads it in time. It has no interrupt line: the end of the first stage only shows in a register.
class Device final : public pci::Function {
  public:
    using State = watchdog::State;

    /// What it needs. All of it outlives the device.
    struct Services {
        pci::AddressSpace& space;
        io::Engine& engine;
        PlatformEvents& events;
    };

    /// Put it into a slot with HostBridge::add(). Its time stands still until resume(). `restored`: it goes
    /// on where state() was taken, with the time that was left.
    static Result<std::unique_ptr<Device>> create(const Config& config, const Services& services,
                                                  std::optional<State> restored = std::nullopt,
                                                  Clock now = std::chrono::steady_clock::now);
    ~Device() override;

    /// Control thread. When pause() returns it expires no more.
    void pause() { countdown_.pause(); }
    void resume();
    /// Exact while it is paused.
    [[nodiscard]] State state() const;
    /// See Config::timed_out.
    [[nodiscard]] bool timed_out() const { return countdown_.state().timed_out; }
    /// Any thread.
    [[nodiscard]] Metrics metrics() const { return countdown_.metrics(); }

  private:
    Device(const Config& config, const Services& services, std::optional<State> restored, Clock now);
    Result<> build(io::Engine& engine, const State* restored, Clock now);

    // pci::Function
    void read_bar(unsigned index, std::uint64_t offset, std::span<std::byte> data) override;
    void write_bar(unsigned index, std::uint64_t offset, std::span<const std::byte> data) override;
    void after_config_write(std::uint32_t offset, std::size_t length) override;

    void write_reload(std::uint16_t value);
    void follow_lock_register();
    [[nodiscard]] Course course() const;
    void update_course() { countdown_.set_course(course()); }
    void poke_if(bool earlier) const;

    std::uint32_t timer1_ = kTimerMask;
    std::uint32_t timer2_ = kTimerMask;
    std::uint8_t unlocked_ = 0;
    std::uint8_t lock_register_ = 0;  ///< as it holds: a write may not change it
    Countdown countdown_;
    std::unique_ptr<io::Alarm> alarm_;
};

}  // namespace hako::watchdog
