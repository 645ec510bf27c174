// What a guest's CPUs can do, for a destination to look at before anything moves.
#pragma once

#include <span>

#include "migration/protocol/messages.h"
#include "vmm/base/result.h"
#include "vmm/kvm/vcpu_state.h"
#include "vmm/machine/cpu_compat.h"

namespace hako::migration {

[[nodiscard]] Result<Blob> encode_cpus(std::span<const kvm::VcpuState> cpus);
/// Refuses CPUs that this host does not have, by name of the first differences. Anybody may have written
/// `blob`.
[[nodiscard]] Result<> check_cpus(std::span<const std::byte> blob, const HostCpu& host);

}  // namespace hako::migration
