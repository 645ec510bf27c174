// What goes over the wire to a socket device's driver (virtio 1.3, 5.10).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hako::virtio::vsock {

/// Feature bits (5.10.3). Seqpacket sockets are not offered.
namespace feature {
inline constexpr std::uint64_t kStream = 1U << 0;
}  // namespace feature

/// The host's address (5.10.4): the one that packets of the driver go to.
inline constexpr std::uint64_t kHostCid = 2;

/// Queues (5.10.2).
inline constexpr std::uint16_t kReceive = 0;
inline constexpr std::uint16_t kTransmit = 1;
inline constexpr std::uint16_t kEvents = 2;

/// Type of a socket (5.10.6.4).
inline constexpr std::uint16_t kTypeStream = 1;

enum class Operation : std::uint16_t {
    kInvalid = 0,
    kRequest = 1,        ///< connect
    kResponse = 2,       ///< the answer to it: connected
    kReset = 3,          ///< the answer to it: no; and to what makes no sense; and the end
    kShutdown = 4,       ///< kNo… in `flags`
    kReadWrite = 5,      ///< payload
    kCreditUpdate = 6,   ///< only for buf_alloc and fwd_cnt, which every packet has
    kCreditRequest = 7,  ///< asks for that
};

/// Header::flags of kShutdown: what its sender will not do any more (5.10.6.6.1).
inline constexpr std::uint32_t kNoReceive = 1;
inline constexpr std::uint32_t kNoSend = 2;
inline constexpr std::uint32_t kNoMore = kNoReceive | kNoSend;

/// struct virtio_vsock_hdr (5.10.6).
struct __attribute__((packed)) Header {
    std::uint64_t src_cid = 0;
    std::uint64_t dst_cid = 0;
    std::uint32_t src_port = 0;
    std::uint32_t dst_port = 0;
    std::uint32_t len = 0;  ///< of the payload behind it, bytes
    std::uint16_t type = 0;
    std::uint16_t op = 0;
    std::uint32_t flags = 0;
    std::uint32_t buf_alloc = 0;  ///< the sender's room for one connection's payload, bytes
    std::uint32_t fwd_cnt = 0;    ///< how much of it the sender has handed on, modulo 2^32
};
static_assert(sizeof(Header) == 44);

/// struct virtio_vsock_event (5.10.6.7).
struct Event {
    std::uint32_t id = 0;
};
inline constexpr std::uint32_t kTransportReset = 0;

/// The two ports that name a connection: there is one guest and one host.
struct Ports {
    std::uint32_t host = 0;
    std::uint32_t guest = 0;

    bool operator==(const Ports&) const = default;
};

// How a program on the host asks for a port of the guest, as Firecracker and Cloud Hypervisor have it:
// "CONNECT 1024\n", answered with "OK 1073741824\n", which names the port on the host's side.

/// The longest line that may be right, its end included.
inline constexpr std::size_t kMaxConnectLine = sizeof("CONNECT 4294967295\r\n") - 1;

/// The port out of a line without its '\n'. Nothing if it is no such line.
[[nodiscard]] std::optional<std::uint32_t> parse_connect(std::string_view line);

/// The answer, in a buffer of its own.
struct ConnectAnswer {
    explicit ConnectAnswer(std::uint32_t host_port);
    [[nodiscard]] std::string_view text() const { return {bytes.data(), length}; }

    std::array<char, 16> bytes{};
    std::size_t length = 0;
};

}  // namespace hako::virtio::vsock
