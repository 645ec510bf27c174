// A small ISO 9660 file system with Rock Ridge and Joliet names.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "vmm/seed/file_tree.h"

namespace hako::seed {

inline constexpr std::size_t kSector = 2048;
/// Characters of a label: what fits in UTF-16, too.
inline constexpr std::size_t kMaxIsoLabel = 16;

/// The image's bytes, a multiple of kSector. All is root's, folders have mode 0555, and everything is as old
/// as 1970: the same files give the same bytes, at any time and in any time zone. `label` is ASCII.
[[nodiscard]] std::string make_iso(std::string_view label, const FileTree& tree);

}  // namespace hako::seed
