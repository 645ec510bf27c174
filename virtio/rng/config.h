// What a user says about the entropy device.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/io/rate_limiter.h"

namespace hako::virtio::rng {

struct Config {
    std::string id = "__rng";       ///< name in messages; the user's ids do not start with two underscores
    io::RateLimits limits;          ///< bytes and answers a second
    std::uint16_t queue_size = 64;  ///< a power of two, 2 to 1024
    std::uint16_t pci_segment = 0;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::virtio::rng
