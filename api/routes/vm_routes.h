// The VM's life, and what it is made of, over REST.
#pragma once

#include "api/router/router.h"
#include "api/vmm.h"

namespace hako::api {

/// vm.create, vm.boot, vm.delete, vm.info, vm.counters, vm.pause, vm.resume, vm.shutdown, vm.reboot,
/// vm.power-button, vm.nmi, vm.coredump. The VMM outlives the router.
void add_vm_routes(Router& router, Vmm& vmm);

}  // namespace hako::api
