// What all queues of a console device have in common.
#pragma once

#include "virtio/console/metrics.h"
#include "virtio/prompt_worker.h"

namespace hako::virtio::console {

using QueueSetup = PromptSetup<QueueMetrics>;
using QueueWorker = PromptWorker<QueueMetrics>;

}  // namespace hako::virtio::console
