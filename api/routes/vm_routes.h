// The VM's life, and what it is made of, over REST.
#pragma once

#include "api/router/router.h"
#include "vmm/machine/instance.h"

namespace hako::api {

/// vmm.ping, vm.pause, vm.resume, vm.power-button. The instance outlives the router.
void add_vm_routes(Router& router, Instance& instance);

}  // namespace hako::api
