// A number that an io thread counts and anybody reads.
#pragma once

#include "vmm/base/counter.h"

namespace hako::virtio {

using MetricCounter = Counter;

}  // namespace hako::virtio
