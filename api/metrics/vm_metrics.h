// What a running VM counts, for GET /metrics.
#pragma once

#include "api/metrics/prometheus.h"
#include "vmm/machine/machine.h"

namespace hako::api {

/// vCPUs, disks, network interfaces, entropy. Control thread; disturbs neither a vCPU nor the io thread.
void write_machine(PrometheusText& text, const Machine& machine);
/// This process: CPU time, memory, open files, threads.
void write_process(PrometheusText& text);

}  // namespace hako::api
