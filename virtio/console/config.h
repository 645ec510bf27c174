// What a user says about a virtio console and its ports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "devices/console/config.h"

namespace hako::virtio::console {

/// Ports of one device, the console itself included.
inline constexpr std::uint16_t kMaxPorts = 16;
inline constexpr std::size_t kMaxPortName = 64;

/// A port that programs in the guest open by its name ("/dev/virtio-ports/NAME").
struct PortConfig {
    std::string name;  ///< 1 to kMaxPortName characters
    hako::console::Config host;

    bool operator==(const PortConfig&) const = default;
};

struct Config {
    std::string id;                 ///< name in messages and in the API: "_console0" when the user gave none
    hako::console::Config console;  ///< port 0, "/dev/hvc0"; kOff: the device has no such port
    std::vector<PortConfig> ports;  ///< ports 1 and up; at most kMaxPorts - 1
    std::uint16_t queue_size = 64;  ///< of each port's two queues: a power of two, 2 to 1024
    std::uint16_t pci_segment = 0;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::virtio::console
