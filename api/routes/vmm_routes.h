// The process itself over REST.
#pragma once

#include <functional>

#include "api/router/router.h"
#include "api/vmm.h"

namespace hako::api {

/// vmm.ping and vmm.shutdown. The latter deletes the VM, and calls `on_shutdown` once the client has its
/// answer, on the API's thread.
void add_vmm_routes(Router& router, Vmm& vmm, EventLog& events, std::function<void()> on_shutdown);

}  // namespace hako::api
