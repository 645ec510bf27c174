// A transport that only remembers what a device asked of it.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "vmm/base/eventfd.h"

namespace hako::test {

/// Waits until `event` is signalled and takes the signal. False after ten seconds: something is stuck.
inline bool wait_for(const EventFd& event, std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    pollfd poll_fd{.fd = event.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&poll_fd, 1, static_cast<int>(patience.count())) != 1) return false;
    return event.take() > 0;
}

class FakeTransport final : public virtio::TransportHooks {
  public:
    explicit FakeTransport(std::size_t queues) {
        for (std::size_t i = 0; i < queues; ++i) {
            kicks.push_back(EventFd::create().value());
            interrupts.push_back(EventFd::create().value());
        }
    }

    [[nodiscard]] int queue_interrupt(std::uint16_t index) const override { return interrupts[index].fd(); }
    void config_changed() override { config_change.signal(); }
    void needs_reset(std::string_view why) override {
        {
            const std::scoped_lock lock(mutex_);
            reset_reason_ = why;
        }
        reset_wanted.signal();
    }
    [[nodiscard]] std::string reset_reason() const {
        const std::scoped_lock lock(mutex_);
        return reset_reason_;
    }

    std::vector<EventFd> kicks;
    std::vector<EventFd> interrupts;
    EventFd config_change = EventFd::create().value();
    EventFd reset_wanted = EventFd::create().value();

  private:
    mutable std::mutex mutex_;
    std::string reset_reason_;
};

}  // namespace hako::test
