// The virtqueues of a device that a daemon serves: what there is to do for any such device.
#pragma once

#include <atomic>
#include <cstdint>
#include <latch>
#include <optional>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "virtio/vhost_user/frontend.h"
#include "virtio/vhost_user/hangup_watch.h"
#include "virtio/vhost_user/write_log.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/result.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"

namespace hako::virtio::vhost_user {

/// Doorbells go from KVM to the daemon and interrupts from there to KVM; hako tells the daemon where rings
/// are, starts and stops it. The io thread only hears of its end, and of rings that break the rules.
///
/// A daemon that is gone, silent or wrong costs the device its use (DEVICE_NEEDS_RESET) and the VM nothing:
/// the calls below have one time limit each. When the driver starts anew, a new daemon at the same path is
/// used. Called as a Device is: one call at a time, never on the io thread.
class Queues final : private io::BatchWork {
  public:
    /// Both outlive it.
    Queues(io::Engine& engine, Frontend& daemon) : engine_(engine), daemon_(daemon) {}
    Queues(const Queues&) = delete;
    Queues& operator=(const Queues&) = delete;
    ~Queues() { reset(); }

    /// See Device::activate().
    Result<> activate(const Activation& activation, bool paused);
    void reset();
    void pause();
    void resume();
    void queue_interrupt_changed(std::uint16_t index);
    [[nodiscard]] std::vector<QueuePosition> positions() const;
    [[nodiscard]] bool active() const { return hooks_ != nullptr; }
    /// The daemon has failed since it was activated.
    [[nodiscard]] bool failed() const { return failed_.load(); }

    /// From now on, until it is switched off, the daemon's writes are logged, whenever it is active. An
    /// error: it is not.
    Result<> set_logging(bool on, GuestMemory& memory);
    /// Marks what it has written since the last call in hako's own bitmap.
    void collect_log();
    /// Tells the daemon of regions that came or went.
    void memory_changed();

  private:
    struct Ring {
        unsigned index = 0;
        QueueConfig config;
        int kick = -1;
        QueuePosition position;
    };

    Result<> prepare(const Activation& activation);
    Result<> start_rings();
    Result<> start(const Ring& ring);
    Result<> tell_addresses(const Ring& ring);
    void stop_rings();
    Result<> tell_features();
    void check(const Result<>& result);
    void give_up(const Error& error);
    void fail(std::string_view why);
    void watch(bool on);
    void run_batch() override;

    io::Engine& engine_;
    Frontend& daemon_;
    std::vector<Ring> rings_;  ///< those that the driver enabled
    std::uint16_t count_ = 0;  ///< of all queues
    GuestMemory* memory_ = nullptr;
    TransportHooks* hooks_ = nullptr;  ///< while active
    std::uint64_t features_ = 0;
    std::optional<EventFd> error_;
    std::optional<WriteLog> log_;
    bool running_ = false;  ///< the rings are the daemon's
    std::atomic<bool> failed_{false};

    // io thread only, while active
    HangupWatch hangup_{engine_, *this};
    io::EventWatch errors_{engine_, *this};
    std::latch* idle_ = nullptr;
    bool errors_heard_ = false;
};

}  // namespace hako::virtio::vhost_user
