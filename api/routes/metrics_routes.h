// GET /metrics for Prometheus.
#pragma once

#include "api/metrics/request_metrics.h"
#include "api/router/router.h"
#include "api/vmm.h"

namespace hako::api {

/// Both outlive the router.
void add_metrics_routes(Router& router, const Vmm& vmm, const RequestMetrics& requests);

}  // namespace hako::api
