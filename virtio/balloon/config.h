// What a user says about the balloon.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio::balloon {

/// A guest page as the device counts them, whatever the guest's are (virtio 1.3, 5.5.6).
inline constexpr std::uint64_t kBalloonPage = 4 * KiB;

struct Config {
    std::string id = "__balloon";      ///< name in messages; the user's ids do not start with two underscores
    std::uint64_t size = 0;            ///< bytes that the guest is to do without; whole pages of them count
    bool deflate_on_oom = false;       ///< a guest short of memory takes some back
    bool free_page_reporting = false;  ///< the guest tells of pages that it does not use
    std::uint16_t pci_segment = 0;

    bool operator==(const Config&) const = default;
};

/// Refuses a balloon that does not fit such memory.
[[nodiscard]] Result<> check(const Config& config, const MemoryConfig& memory);

/// The same balloon, of so many whole pages.
[[nodiscard]] Result<Config> resized(const Config& config, std::uint64_t bytes, const MemoryConfig& memory);

}  // namespace hako::virtio::balloon
