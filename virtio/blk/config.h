// What a user says about one disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "vmm/io/rate_limiter.h"

namespace hako::virtio::blk {

struct Config {
    std::string id;    ///< name in messages and, later, in the API: "_disk0" when the user gave none
    std::string path;  ///< raw image file or block device
    bool readonly = false;
    std::string serial;          ///< VIRTIO_BLK_T_GET_ID, at most 20 bytes of printable ASCII; empty: the id
    std::optional<bool> direct;  ///< O_DIRECT: yes, no, or (unset) where the file allows it
    std::uint16_t queues = 1;    ///< 1 to 64
    std::uint16_t queue_size = 256;  ///< a power of two, 16 to 1024
    io::RateLimits limits;  ///< bytes read and written, and requests of any kind; all queues together
    std::uint16_t pci_segment = 0;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::virtio::blk
