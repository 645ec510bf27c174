// Live migration over REST.
#pragma once

#include "api/migrations.h"
#include "api/router/router.h"
#include "api/vmm.h"

namespace hako::api {

/// vm.send-migration and vm.receive-migration, and hako's own vm.migration-progress, vm.cancel-migration,
/// vm.migration-bandwidth and vm.reclaim-migration. Both outlive the router.
void add_migration_routes(Router& router, Vmm& vmm, Migrations& migrations);

}  // namespace hako::api
