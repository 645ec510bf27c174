// The transport of a device under a fuzz target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/require.h"
#include "virtio/device.h"
#include "vmm/base/eventfd.h"

namespace hako::fuzz {

class Hooks final : public virtio::TransportHooks {
  public:
    /// Of a device with so many queues.
    explicit Hooks(std::size_t queues) : queues_(queues) {}

    [[nodiscard]] int queue_interrupt(std::uint16_t index) const override {
        require(index < queues_, "an interrupt of a queue that there is not");
        return interrupt_.fd();
    }
    void config_changed() override {}
    void needs_reset(std::string_view why) override { require(!why.empty(), "a reset without a reason"); }

  private:
    const std::size_t queues_;
    EventFd interrupt_ = EventFd::create().value();
};

}  // namespace hako::fuzz
