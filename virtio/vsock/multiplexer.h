// Between the queues and the host's sockets: which packet belongs to which connection, and what follows from
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <span>

#include "virtio/queue.h"
#include "virtio/vsock/connection_pool.h"
#include "virtio/vsock/host_end.h"
#include "virtio/vsock/metrics.h"
#include "virtio/vsock/protocol.h"
#include "vmm/io/engine.h"
#include "vmm/io/timer.h"

namespace hako::virtio::vsock {

/// A packet for the driver.
struct Packet {
    Header header;
    std::span<const std::byte> payload;
    Connection* connection = nullptr;  ///< null: it is an answer to who has none
};

/// io thread only, but for the constructor.
///
/// Nothing of it touches guest memory but take() and who writes the packets, so a pause of the queues is all
/// that a pause takes: what the host sends meanwhile waits, in bounded memory.
class Multiplexer final : public io::BatchWork, private ConnectionOwner {
  public:
    /// All of it outlives the multiplexer.
    Multiplexer(io::Engine& engine, const HostEnd& host, std::uint64_t cid, LiveConnectionMetrics& metrics);
    Multiplexer(const Multiplexer&) = delete;
    Multiplexer& operator=(const Multiplexer&) = delete;

    /// Takes connections of the host from now on. `receive` runs when there are packets, `transmit` when
    /// can_take() is true again.
    void start(io::BatchWork* receive, io::BatchWork* transmit, bool paused);
    /// Ends all connections; counts `idle` down when nothing is in the kernel.
    void stop(std::latch& idle);
    /// While paused no time passes.
    void set_paused(bool paused) { paused_ = paused; }

    // Of the transmit queue.

    /// Whether another packet may be taken: not while too many answers wait for the driver to take them.
    [[nodiscard]] bool can_take() const { return answer_count_ < kMaxAnswers; }
    /// `chain`: what is behind the header, at least header.len bytes if it is a kReadWrite. False: it is from
    /// a CID that is not the guest's.
    bool take(const Header& header, Chain& chain);
    /// The chain is no packet. What can be known of its header is in `header`.
    void refuse(const Header& header);
    /// After a batch of packets: their bytes go out to the host.
    void flush();

    // Of the receive queue.

    /// Whether there is a packet for the driver.
    [[nodiscard]] bool has_packet();
    /// It, with at most `room` bytes of payload. has_packet() said so.
    [[nodiscard]] Packet packet(std::size_t room);
    /// It is in the driver's buffer.
    void delivered(const Packet& packet);

    void run_batch() override;

  private:
    static constexpr std::size_t kMaxAnswers = 256;

    struct Accept final : io::Completion {
        explicit Accept(Multiplexer& to) : owner(to) {}
        void complete(std::int32_t result, std::uint32_t flags) override { owner.accepted(result, flags); }
        Multiplexer& owner;
        bool active = false;
        bool failed = false;
        bool multishot = true;
    };

    void accept();
    void accepted(std::int32_t result, std::uint32_t flags);
    void connection_changed(Connection& connection) override;
    void shake_hands(Connection& connection);
    void host_changed(Connection& connection);
    void settle(Connection& connection);
    void drain(Connection& connection);
    void close(Connection& connection);
    void reset(Connection& connection);
    void release_if_done(Connection& connection);

    void request(const Header& header, const Ports& ports);
    void take(Connection& connection, const Header& header, Chain& chain);
    void response(Connection& connection);
    void payload(Connection& connection, std::uint32_t length, Chain& chain);
    void shutdown(Connection& connection, std::uint32_t flags);
    void guest_left(Connection& connection);
    void answer_reset(const Header& header);

    void make_ready(Connection& connection);
    void give_up_after(Connection& connection, std::uint8_t seconds);
    void tick();
    [[nodiscard]] Ports new_ports(std::uint32_t guest_port);

    io::Engine& engine_;
    const HostEnd& host_;
    const std::uint64_t cid_;
    LiveConnectionMetrics& metrics_;
    Accept accept_{*this};
    io::Timer timer_;
    ConnectionPool pool_;
    Line<&Connection::is_ready> ready_;
    Line<&Connection::is_written> written_;
    std::array<Header, kMaxAnswers> answers_{};  ///< to who has no connection
    std::size_t first_answer_ = 0;
    std::size_t answer_count_ = 0;
    std::uint32_t next_port_;
    io::BatchWork* receive_ = nullptr;
    io::BatchWork* transmit_ = nullptr;
    std::latch* idle_ = nullptr;
    bool paused_ = false;
    bool stopping_ = true;
    bool ticking_ = false;
};

}  // namespace hako::virtio::vsock
