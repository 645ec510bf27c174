// A small ISO 9660 file system with Joliet and Rock Ridge names.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace hako::seed {

inline constexpr std::size_t kSector = 2048;

struct IsoFile {
    std::string_view name;  ///< in the root directory
    std::string_view content;
};

/// The image's bytes, a multiple of kSector. Files are root's, read-only (0444) and as old as 1970: the same
/// files give the same bytes, at any time and in any time zone.
Result<std::string> make_iso(std::string_view label, std::span<const IsoFile> files);

}  // namespace hako::seed
