// A receive queue of a network device at work: frames out of a stream socket, into the driver's buffers.
#pragma once

#include <array>

#include "virtio/net/packet_delivery.h"
#include "virtio/net/queue_worker.h"
#include "virtio/net/stream_link.h"

namespace hako::virtio::net {

/// One receive waits in the kernel; each brings as many frames as there are, up to the buffer's size. While
/// the driver has no room nothing is read, and the other end feels it.
class StreamRxQueue final : public QueueWorker {
  public:
    StreamRxQueue(const QueueSetup& setup, Queue queue, StreamLink& link);

  private:
    struct Read final : io::Completion {
        explicit Read(StreamRxQueue& owner) : queue(owner) {}
        void complete(std::int32_t result, std::uint32_t /*flags*/) override { queue.completed(result); }
        StreamRxQueue& queue;
    };

    void serve() override;
    [[nodiscard]] bool busy() const override { return reading_; }
    void cancel_waiting() override;

    void read();
    void completed(std::int32_t result);
    /// False: the frame at hand waits for the limit.
    [[nodiscard]] bool admitted();
    /// False: frames are left that wait for buffers or their limit.
    bool deliver_all();

    StreamLink& link_;
    PacketDelivery delivery_;
    Read read_{*this};
    bool reading_ = false;
};

}  // namespace hako::virtio::net
