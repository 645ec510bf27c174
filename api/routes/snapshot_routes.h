// Snapshots over REST.
#pragma once

#include "api/router/router.h"
#include "api/snapshots.h"
#include "api/vmm.h"

namespace hako::api {

/// vm.snapshot and vm.restore. Both outlive the router.
void add_snapshot_routes(Router& router, Vmm& vmm, Snapshots& snapshots);

}  // namespace hako::api
