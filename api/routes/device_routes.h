// Devices that come and go, and their knobs, over REST.
#pragma once

#include "api/router/router.h"
#include "vmm/machine/instance.h"

namespace hako::api {

/// vm.add-disk, vm.add-net, vm.remove-device; and hako's own vm.add-console, vm.set-link, vm.set-limits,
/// vm.announce. The instance outlives the router.
void add_device_routes(Router& router, Instance& instance);

}  // namespace hako::api
