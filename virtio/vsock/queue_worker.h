// What all queues of a vsock device have in common.
#pragma once

#include "virtio/prompt_worker.h"
#include "virtio/vsock/metrics.h"

namespace hako::virtio::vsock {

using QueueSetup = PromptSetup<QueueMetrics>;
using QueueWorker = PromptWorker<QueueMetrics>;

}  // namespace hako::virtio::vsock
