// What of a VM goes along beside its memory: the machine's state, the disks that hako built, and what waits
// for the guest to let go of something.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/machine/coming.h"
#include "vmm/machine/state.h"
#include "vmm/seed/helper.h"

namespace hako::migration {

struct SavedVm {
    std::vector<std::byte> machine;  ///< encode(MachineState)
    std::vector<seed::Helper> helpers;
    Coming coming;
};

[[nodiscard]] Result<std::vector<std::byte>> encode(const SavedVm& vm);
/// From bytes that anybody may have written.
[[nodiscard]] Result<SavedVm> decode_saved_vm(std::span<const std::byte> bytes);

}  // namespace hako::migration
