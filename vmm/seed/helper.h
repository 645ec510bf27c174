// The small disks of a VM.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/seed/config.h"
#include "vmm/seed/disk.h"
#include "vmm/seed/image.h"

namespace hako::seed {

/// The id of cloud-init's disk; the user's ids do not begin with two underscores.
inline constexpr const char* kSeedId = "__seed";

/// A disk as a VM has it, over all its lives: its content is the image, and nothing else keeps that. A
/// snapshot takes the image's bytes; seal() makes an image of them again.
struct Helper {
    std::string id;
    std::string label;
    std::string serial;  ///< at most 20 bytes of printable ASCII
    Format format = Format::kIso9660;
    std::shared_ptr<const Image> image;
};

/// A disk of these files. Refusals begin with the field.
[[nodiscard]] Result<Helper> make_helper(std::string id, std::string serial, const DiskConfig& config);
/// cloud-init's disk; its serial is "cidata". A clone that shall be another instance gets one of a new
/// config.
[[nodiscard]] Result<Helper> make_seed(const Config& config);

/// Puts `helper` in the place of the one with its id, or at the end.
void put_helper(std::vector<Helper>& helpers, Helper helper);

}  // namespace hako::seed
