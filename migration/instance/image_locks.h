// The locks of a machine's images, all of them at once.
#pragma once

#include "vmm/base/result.h"
#include "vmm/machine/machine.h"

namespace hako::migration {

/// Takes OWNER of every image, or of none.
Result<> own_images(const Machine& machine);
/// Gives up OWNER, and INTENT, of every image.
void release_images(const Machine& machine);

}  // namespace hako::migration
