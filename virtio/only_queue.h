// The queue of a device that has one.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "virtio/device.h"
#include "virtio/queue.h"
#include "vmm/base/result.h"

namespace hako::virtio {

/// As the driver set it up; nothing if it did not enable it. `most`: the size that was offered. `who` it is
/// for, in messages: "entropy device _rng0".
inline Result<std::optional<Queue>> only_queue(const Activation& activation, std::uint16_t most,
                                               std::string_view who) {
    if (activation.queues.empty() || !activation.queues[0].enabled) return std::nullopt;
    const QueueConfig& config = activation.queues[0];
    if (config.size > most || activation.kicks.empty())
        return fail_input("{}: the queue has size {}, more than was offered", who, config.size);
    const QueuePosition position = activation.positions.empty() ? QueuePosition{} : activation.positions[0];
    return HAKO_TRY_WRAP(Queue::create(activation.memory, config, activation.features, position), "{}", who);
}

}  // namespace hako::virtio
