// What a user says about a virtio socket device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hako::virtio::vsock {

/// The guest's address. 0, 1 and 2 are reserved (virtio 1.3, 5.10.4), the upper half of the field is zeros,
/// and all ones means any.
inline constexpr std::uint64_t kMinCid = 3;
inline constexpr std::uint64_t kMaxCid = 0xffff'fffe;

/// Of the socket: what is left of sun_path behind it takes "_4294967295" and the end mark.
inline constexpr std::size_t kMaxSocketPath = 96;
/// Of one machine: the API's configuration has room for one.
inline constexpr std::size_t kMaxDevices = 1;

struct Config {
    std::string id;         ///< name in messages and in the API: "_vsock0" when the user gave none
    std::uint64_t cid = 0;  ///< kMinCid to kMaxCid
    /// Where the host connects to the guest. Who listens at "<socket>_<port>" hears of the guest's
    /// connections.
    std::string socket;
    std::uint16_t pci_segment = 0;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::virtio::vsock
