// One connection between a program in the guest and one on the host.
#pragma once

#include <algorithm>
#include <cstdint>

#include "virtio/vsock/host_stream.h"
#include "virtio/vsock/protocol.h"

namespace hako::virtio::vsock {

class Connection;

class ConnectionOwner {
  public:
    /// Something has changed at its stream.
    virtual void connection_changed(Connection& connection) = 0;

  protected:
    ~ConnectionOwner() = default;
};

/// Packets that a connection is still to send to the driver, in the order in which they go out: nothing
/// queues up, each tells how things stand when it goes.
namespace packet {
inline constexpr std::uint8_t kRequest = 1;
inline constexpr std::uint8_t kResponse = 2;
inline constexpr std::uint8_t kReset = 4;
inline constexpr std::uint8_t kCreditRequest = 8;
inline constexpr std::uint8_t kCreditUpdate = 16;
}  // namespace packet

/// How far it is, and the credit of both sides (virtio 1.3, 5.10.6.3). Used over and over. io thread only.
class Connection final : private HostStream::User {
  public:
    /// Told to the driver: its room here. What the ring has beyond that is for the answer to CONNECT.
    static constexpr std::uint32_t kBufAlloc = HostStream::kOutBytes - sizeof(ConnectAnswer::bytes);

    enum class Stage : std::uint8_t {
        kFree,
        kHandshake,  ///< the host's first line is read
        kRequested,  ///< the guest is asked
        kConnected,
        kClosing,   ///< the guest knows that it is over, and is to say so too
        kDraining,  ///< the guest has left: what it sent goes out
        kClosed,  ///< until nothing of it is in the kernel, and the guest has been told what it is to be told
    };

    /// All of it outlives the connection.
    Connection(io::Engine& engine, ConnectionOwner& owner, std::byte* in, std::byte* out)
        : stream(engine, *this, in, out), owner_(owner) {}

    /// As a new one at `fd`.
    void begin(Fd fd, Stage first) {
        stream.open(std::move(fd));
        stage = first;
        ports = {};
        named = false;
        pending = 0;
        seconds = 0;
        guest_will_not = told = 0;
        asked_for_credit = false;
        greeting = from_guest = 0;
        to_guest = told_forwarded = 0;
        peer_buf_alloc = peer_fwd_cnt = 0;
    }

    /// What the guest may be sent now, bytes. A driver's numbers may make no sense: then nothing.
    [[nodiscard]] std::uint32_t credit() const {
        const std::uint32_t on_the_way = to_guest - peer_fwd_cnt;
        return on_the_way >= peer_buf_alloc ? 0 : peer_buf_alloc - on_the_way;
    }
    /// Bytes of the guest that the host has taken.
    [[nodiscard]] std::uint64_t forwarded() const {
        return stream.sent() - std::min(stream.sent(), greeting);
    }
    /// What the guest may still send, bytes.
    [[nodiscard]] std::uint64_t guests_credit() const { return kBufAlloc - (from_guest - forwarded()); }
    /// What the host will not do any more, kNo… flags: for the guest to know.
    [[nodiscard]] std::uint32_t host_will_not() const {
        std::uint32_t flags = 0;
        if (stream.refused() || stream.hung_up()) flags |= kNoReceive;
        if (stream.ended() && stream.looked() && stream.received().empty()) flags |= kNoSend;
        return flags;
    }
    [[nodiscard]] bool has_data() const {
        return stage == Stage::kConnected && (guest_will_not & kNoReceive) == 0 && !stream.received().empty();
    }
    /// Whether there is a packet for the driver that may go now.
    [[nodiscard]] bool has_packet() const {
        if (pending != 0) return true;
        if (stage != Stage::kConnected) return false;
        return (has_data() && credit() > 0) || (host_will_not() & ~told) != 0;
    }

    HostStream stream;
    Stage stage = Stage::kFree;
    Ports ports;
    bool named = false;                ///< its ports are known: packets find it
    std::uint8_t pending = 0;          ///< packet:: bits
    std::uint8_t seconds = 0;          ///< until it is given up; 0: it is not
    std::uint32_t guest_will_not = 0;  ///< kNo… flags that the guest sent
    std::uint32_t told = 0;            ///< and that it was sent
    bool asked_for_credit = false;
    std::uint64_t greeting = 0;        ///< bytes that the host was sent before any of the guest
    std::uint64_t from_guest = 0;      ///< payload, bytes
    std::uint32_t to_guest = 0;        ///< payload, modulo 2^32
    std::uint32_t told_forwarded = 0;  ///< Header::fwd_cnt of the last packet
    std::uint32_t peer_buf_alloc = 0;
    std::uint32_t peer_fwd_cnt = 0;

    // Of the pool.
    Connection* next = nullptr;  ///< free, or with the same hash
    bool is_ready = false;       ///< in the line of those that may have a packet
    bool is_written = false;     ///< in the line of those that may have something to send to the host

  private:
    void stream_changed() override { owner_.connection_changed(*this); }

    ConnectionOwner& owner_;
};

}  // namespace hako::virtio::vsock
