// The driver's side of all queues of a device under a fuzz target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tests/fuzz/require.h"
#include "tests/fuzz/transport.h"
#include "tests/unit/virtio/driver_queue.h"
#include "virtio/device.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/log.h"
#include "vmm/io/engine.h"
#include "vmm/memory/guest_memory.h"

namespace hako::fuzz {

/// What a device under a fuzz target has around it, made once.
struct World {
    World(const MemoryConfig& config, std::size_t queues)
        : memory(GuestMemory::create(config).value()), hooks(queues) {
        set_log_level(LogLevel::kError);
        for (std::size_t i = 0; i < queues; ++i)
            kicks.push_back(EventFd::create().value());
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    GuestMemory memory;
    Hooks hooks;
    std::vector<EventFd> kicks;
};

class Drivers {
  public:
    /// All outlive it. There is a kick for each queue.
    Drivers(GuestMemory& memory, Hooks& hooks, std::span<EventFd> kicks)
        : memory_(memory), hooks_(hooks), kicks_(kicks) {}

    /// A driver that starts anew with these features: its rings lie at the beginning of memory.
    void start(const virtio::Device& device, std::uint64_t features) {
        features_ = features;
        queues_.clear();
        for (const std::uint16_t size : device.queue_max_sizes())
            queues_.emplace_back(memory_, queues_.empty() ? GuestAddress{0} : queues_.back().end(), size,
                                 (features & virtio::feature::kEventIdx) != 0);
    }
    /// The device serves the queues from `positions` on, or from their beginning.
    void activate(virtio::Device& device, std::span<const virtio::QueuePosition> positions) {
        std::vector<virtio::QueueConfig> configs;
        for (const test::DriverQueue& queue : queues_)
            configs.push_back(queue.config());
        const auto active = device.activate({.features = features_,
                                             .memory = memory_,
                                             .hooks = hooks_,
                                             .queues = configs,
                                             .kicks = kicks_,
                                             .positions = positions});
        require(active.has_value(), "good rings are refused");
    }
    void kick(std::size_t queue) {
        queues_[queue].publish();
        kicks_[queue].signal();
    }

    [[nodiscard]] std::size_t size() const { return queues_.size(); }
    [[nodiscard]] test::DriverQueue& operator[](std::size_t queue) { return queues_[queue]; }
    [[nodiscard]] auto begin() { return queues_.begin(); }
    [[nodiscard]] auto end() { return queues_.end(); }

  private:
    GuestMemory& memory_;
    Hooks& hooks_;
    const std::span<EventFd> kicks_;
    std::uint64_t features_ = 0;
    std::vector<test::DriverQueue> queues_;
};

}  // namespace hako::fuzz
