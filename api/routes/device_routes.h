// Devices that come and go, and their knobs, over REST.
#pragma once

#include "api/router/router.h"
#include "api/vmm.h"

namespace hako::api {

/// vm.add-disk, vm.add-net, vm.remove-device, vm.resize-disk, vm.resize, vm.resize-zone; and hako's own
/// vm.add-console, vm.eject-helper, vm.update-helper, vm.set-link, vm.set-limits, vm.announce. The VMM
/// outlives the router.
void add_device_routes(Router& router, Vmm& vmm);

}  // namespace hako::api
