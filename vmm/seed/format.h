// The file systems that a small disk may have.
#pragma once

#include <string_view>

namespace hako::seed {

enum class Format {
    kIso9660,  ///< with Rock Ridge (names, modes) and Joliet
    kVfat,     ///< FAT12 or FAT16 with long names; it has no modes
};

[[nodiscard]] constexpr std::string_view text(Format format) {
    return format == Format::kIso9660 ? "iso9660" : "vfat";
}

}  // namespace hako::seed
