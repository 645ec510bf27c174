// The vsock's jobs. The guest connects to the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace hako::bench {

/// What the host does with a connection.
enum class VsockPart {
    kRead,   ///< reads what comes
    kWrite,  ///< writes all the time
    kEcho,   ///< writes a message, waits until it is back, and again
};

struct VsockJob {
    std::string_view name;
    VsockPart part;
    std::size_t message;         ///< bytes, of each read, write or round
    std::string_view addresses;  ///< socat's, in the guest; HOST stands for that of the host
};
std::span<const VsockJob> vsock_jobs();

/// The host's port.
inline constexpr std::uint32_t kVsockPort = 5201;

}  // namespace hako::bench
