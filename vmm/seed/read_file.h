// What the user keeps in files of the host, for disks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/seed/file.h"

namespace hako::seed {

/// A regular file of at most `max` bytes.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path, std::uint64_t max);

/// All regular files in a folder and below, within the limits of FileTree; links are followed. Names that
/// begin with ".." are left out: Kubernetes keeps the versions of a volume by them. Without modes.
[[nodiscard]] Result<std::vector<File>> read_folder(const std::filesystem::path& folder);

}  // namespace hako::seed
