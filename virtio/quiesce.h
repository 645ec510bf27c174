// Bringing all queues of a device to rest.
#pragma once

#include <algorithm>
#include <latch>

#include "vmm/io/engine.h"

namespace hako::virtio {

/// Calls `action(queue, latch)` for each queue on the io thread and waits for as many counts on the latch.
/// `queues`: pointers to io::BatchWork, null where the driver enabled none. Not for the io thread.
template <typename Queues, typename Action>
void quiesce(io::Engine& engine, const Queues& queues, Action action) {
    std::latch idle(std::ranges::count_if(queues, [](const auto& queue) { return queue != nullptr; }));
    engine.run_sync([&] {
        for (const auto& queue : queues) {
            if (queue) action(*queue, idle);
        }
    });
    idle.wait();
    // One more round on the io thread: it has let go of the latch and the queues then.
    engine.run_sync([&] {
        for (const auto& queue : queues) {
            if (queue) engine.unschedule(*queue);
        }
    });
}

}  // namespace hako::virtio
