// The transmit queue: packets of the driver.
#pragma once

#include <cstdint>

#include "virtio/vsock/multiplexer.h"
#include "virtio/vsock/queue_worker.h"

namespace hako::virtio::vsock {

/// It is always served, whether or not the driver takes packets (virtio 1.3, 5.10.6.2), until so many answers
/// wait for it that it must take some first.
class TxQueue final : public QueueWorker {
  public:
    TxQueue(const QueueSetup& setup, Queue queue, Multiplexer& multiplexer);

  private:
    void serve() override;
    void take_packets();
    [[nodiscard]] std::uint32_t take_packet();

    Multiplexer& multiplexer_;
};

}  // namespace hako::virtio::vsock
