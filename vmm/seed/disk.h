// A small read-only disk made of files: of a ConfigMap, a Secret, a ServiceAccount, or of cloud-init's texts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/seed/file.h"
#include "vmm/seed/format.h"
#include "vmm/seed/image.h"

namespace hako::seed {

struct DiskConfig {
    /// ISO 9660: 1 to 16 printable characters. FAT: 1 to 11 letters (which become capitals), digits, '-',
    /// '_'.
    std::string label;
    Format format = Format::kIso9660;
    std::vector<File> files;

    bool operator==(const DiskConfig&) const = default;
};

/// The image's bytes; the same config gives the same ones. Refusals begin with the field: the outermost
/// cause is "label" or "files".
[[nodiscard]] Result<std::string> image_bytes(const DiskConfig& config);
/// The same in a sealed memfd.
[[nodiscard]] Result<Image> build(const DiskConfig& config);

}  // namespace hako::seed
