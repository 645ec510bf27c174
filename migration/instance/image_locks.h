// The locks of a machine's images, all of them at once, but for those that stay this process's.
#pragma once

#include <span>
#include <string>

#include "vmm/base/result.h"
#include "vmm/machine/machine.h"

namespace hako::migration {

/// Takes OWNER of every image, or of none but those of the disks in `kept`, by id, which hold it already.
Result<> own_images(const Machine& machine, std::span<const std::string> kept = {});
/// Gives up OWNER, and INTENT, of every image but those of the disks in `kept`, by id.
void release_images(const Machine& machine, std::span<const std::string> kept = {});

}  // namespace hako::migration
