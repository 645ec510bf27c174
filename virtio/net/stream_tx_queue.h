// A transmit queue of a network device at work: the driver's packets, into a stream socket.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>

#include "virtio/net/protocol.h"
#include "virtio/net/queue_worker.h"
#include "virtio/net/stream_link.h"

namespace hako::virtio::net {

/// Many frames go out by one send, from guest memory. It does not wait: chains that the socket has no room
/// for go back to the available ring until it has, so that none is held over a pause or by a slow reader.
/// Only the rest of a frame that was cut is copied: nothing else may follow its beginning.
class StreamTxQueue final : public QueueWorker {
  public:
    StreamTxQueue(const QueueSetup& setup, Queue queue, StreamLink& link);

  private:
    /// Of one send: the kernel takes up to UIO_MAXIOV vectors.
    static constexpr std::size_t kMaxFrames = 128;
    static constexpr std::size_t kMaxVectors = 1024;
    /// Of one send of more than one frame: what fits into one socket buffer goes out whole or not at all.
    /// passt of 2023 loses its place in the stream where a read ends within a frame's length, or where what
    /// is missing of a frame comes in more than one piece.
    static constexpr std::size_t kMaxBytes = 32 * KiB;

    struct Send final : io::Completion {
        explicit Send(StreamTxQueue& owner) : queue(owner) {}
        void complete(std::int32_t result, std::uint32_t /*flags*/) override { queue.sent(result); }
        StreamTxQueue& queue;
    };
    struct Room final : io::Completion {
        explicit Room(StreamTxQueue& owner) : queue(owner) {}
        void complete(std::int32_t /*result*/, std::uint32_t /*flags*/) override { queue.has_room(); }
        StreamTxQueue& queue;
    };
    struct Frame {
        std::uint16_t head = 0;
        std::uint32_t length = 0;          ///< of the frame
        std::uint32_t length_on_wire = 0;  ///< the same, big-endian
        std::size_t first_vector = 0;
    };
    enum class Verdict { kFrame, kDropped, kError };

    void serve() override;
    [[nodiscard]] bool busy() const override { return sending_ || waiting_; }
    void cancel_waiting() override;

    /// Takes frames for one send, and gives back what is none. True: there may be more.
    bool gather();
    /// Whether the limit lets one more go than is gathered; if none is, the queue waits.
    [[nodiscard]] bool admitted();
    [[nodiscard]] Verdict judge() const;
    /// Whether the chain goes into the send that others are in already.
    [[nodiscard]] bool fits() const;
    void add();
    void send_frames();
    void send_rest();
    void prepare_send();
    void sent(std::int32_t result);
    void sent_frames(std::size_t bytes);
    void keep_rest(const Frame& frame, std::size_t sent);
    void refused();
    void wait_for_room();
    void has_room();

    StreamLink& link_;
    Chain chain_;
    std::array<Frame, kMaxFrames> frames_;
    std::size_t frame_count_ = 0;
    std::array<iovec, kMaxVectors> vectors_;
    std::size_t vector_count_ = 0;
    std::size_t frame_bytes_ = 0;  ///< of frames_
    iovec rest_vector_{};
    msghdr message_{};
    Send send_{*this};
    Room room_{*this};
    bool sending_ = false;
    bool waiting_ = false;
    bool held_ = false;  ///< for the limit
};

}  // namespace hako::virtio::net
