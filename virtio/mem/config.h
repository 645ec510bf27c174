// What a memory device is made of, as the VM's memory says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "vmm/base/result.h"
#include "vmm/memory/guest_address.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio::mem {

struct Config {
    std::string id = "__mem";  ///< name in messages; the user's ids do not start with two underscores
    GuestAddress address;      ///< of the region, a multiple of `block_size`, as all sizes are
    std::uint64_t region_size = 0;
    std::uint64_t block_size = 0;
    std::uint64_t requested = 0;  ///< bytes that the guest is to plug
    bool populate = false;        ///< the host gives memory when it is plugged, and not when it is touched

    bool operator==(const Config&) const = default;
};

/// The device that such memory has; nothing if it does not grow, or otherwise.
[[nodiscard]] std::optional<Config> config_of(const MemoryConfig& memory);

/// Refuses memory that cannot have such a device though it is to.
[[nodiscard]] Result<> check(const MemoryConfig& memory);

/// The same memory, of which the guest is to have `bytes` in all.
[[nodiscard]] Result<MemoryConfig> resized(const MemoryConfig& memory, std::uint64_t bytes);

}  // namespace hako::virtio::mem
