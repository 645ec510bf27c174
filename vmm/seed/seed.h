// The cloud-init NoCloud disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "vmm/base/result.h"
#include "vmm/base/units.h"
#include "vmm/seed/config.h"
#include "vmm/seed/disk.h"
#include "vmm/seed/image.h"

namespace hako::seed {

inline constexpr std::uint64_t kMaxText = 1 * MiB;  ///< bytes, each file

/// A disk labelled `cidata` (`CIDATA` on FAT) with user-data, meta-data and, where set, network-config and
/// vendor-data. meta-data always has an instance-id: the one given, or "iid-" and 16 hex digits of a hash
/// over all that is given, so that the same config is the same disk. A text that cloud-init would not
/// understand is the user's error, whose outermost cause is the field: "user-data", "hostname".
[[nodiscard]] Result<DiskConfig> disk_of(const Config& config);
/// The same in a sealed memfd.
[[nodiscard]] Result<Image> build(const Config& config);

/// Of the texts. Nothing has been opened yet.
struct Paths {
    std::filesystem::path user_data;
    std::optional<std::filesystem::path> meta_data = std::nullopt;
    std::optional<std::filesystem::path> network_config = std::nullopt;
    std::optional<std::filesystem::path> vendor_data = std::nullopt;
};

/// Reads the texts from regular files of at most kMaxText bytes each. Does not check what is in them: build()
/// does.
[[nodiscard]] Result<Config> from_files(const Paths& paths);

}  // namespace hako::seed
