// What tells a VM that is restored from the one that was saved, and from others of the same snapshot.
#pragma once

#include "api/schema/snapshot.h"
#include "api/schema/vm.h"
#include "api/vmm.h"
#include "vmm/base/result.h"

namespace hako::api {

/// Puts other images, taps and sockets into `config`, the snapshot's; what the guest has to let go of
/// something for is returned. Refusals name the field.
[[nodiscard]] Result<Vmm::Identity> give_identity(VmConfig& config, const RestoreConfig& wanted);

}  // namespace hako::api
