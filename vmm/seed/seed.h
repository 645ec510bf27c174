// The cloud-init NoCloud disk, built in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/base/units.h"
#include "vmm/seed/config.h"

namespace hako::seed {

inline constexpr std::uint64_t kMaxText = 1 * MiB;  ///< bytes, each file

/// A disk image in a memfd that nobody can change any more (all seals set). Serve it read-only.
struct Image {
    Fd fd;
    std::uint64_t size = 0;      ///< bytes, a multiple of 2048
    std::uint64_t checksum = 0;  ///< FNV-1a 64 of the whole image
};

/// An ISO 9660 disk labelled `cidata` with user-data, meta-data and, where set, network-config and
/// vendor-data. The same config gives the same bytes. meta-data always has an instance-id: the one given, or
/// "iid-" and 16 hex digits of a hash over all four texts. A text that cloud-init would not understand is the
/// user's error.
Result<Image> build(const Config& config);

/// Reads the texts from regular files of at most kMaxText bytes each. Does not check what is in them: build()
/// does.
Result<Config> from_files(const std::filesystem::path& user_data,
                          const std::optional<std::filesystem::path>& meta_data = std::nullopt,
                          const std::optional<std::filesystem::path>& network_config = std::nullopt);

}  // namespace hako::seed
