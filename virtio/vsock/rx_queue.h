// The receive queue: packets for the driver.
#pragma once

#include "virtio/vsock/multiplexer.h"
#include "virtio/vsock/queue_worker.h"

namespace hako::virtio::vsock {

/// Packets are made when the driver has offered a buffer, so none waits anywhere.
class RxQueue final : public QueueWorker {
  public:
    RxQueue(const QueueSetup& setup, Queue queue, Multiplexer& multiplexer);

  private:
    void serve() override;
    [[nodiscard]] bool take_chain();
    void put(const Packet& packet);

    Multiplexer& multiplexer_;
};

}  // namespace hako::virtio::vsock
