// What is on a small disk: the way back from an image, whoever made it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/units.h"
#include "vmm/seed/file.h"
#include "vmm/seed/format.h"

namespace hako::seed {

inline constexpr std::size_t kMaxListed = 8192;      ///< files and folders
inline constexpr std::uint64_t kMaxRead = 64 * MiB;  ///< bytes of an image, and of all that is on it

struct Contents {
    Format format = Format::kIso9660;
    std::string label;
    std::vector<File> files;  ///< in the order of the folders' records; modes where the disk has them
};

/// Reads ISO 9660 (Rock Ridge names, else plain ones) or FAT12 and FAT16. The image may be anything: what
/// does not hold together is a Fault::kInput.
[[nodiscard]] Result<Contents> read_contents(std::string_view image);

}  // namespace hako::seed
