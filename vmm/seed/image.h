// A disk image that lives in memory only.
#pragma once

#include <cstdint>
#include <string_view>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::seed {

/// A disk image in a memfd that nobody can change any more (all seals set). Serve it read-only.
struct Image {
    Fd fd;
    std::uint64_t size = 0;      ///< bytes, a multiple of 512
    std::uint64_t checksum = 0;  ///< FNV-1a 64 of the whole image
};

/// For bytes that were built here, or that come from a snapshot.
[[nodiscard]] Result<Image> seal(std::string_view bytes);

}  // namespace hako::seed
