// What all queues of a balloon have in common.
#pragma once

#include "virtio/balloon/metrics.h"
#include "virtio/prompt_worker.h"

namespace hako::virtio::balloon {

using QueueSetup = PromptSetup<QueueMetrics>;
using QueueWorker = PromptWorker<QueueMetrics>;

}  // namespace hako::virtio::balloon
