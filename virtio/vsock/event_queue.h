// The event queue: what happens to the device as a whole.
#pragma once

#include "virtio/vsock/queue_worker.h"

namespace hako::virtio::vsock {

/// There is one event: the device is another one than before, and all connections are over.
class EventQueue final : public QueueWorker {
  public:
    /// `reset`: the driver is to be told so, once it offers a buffer.
    EventQueue(const QueueSetup& setup, Queue queue, bool reset);

  private:
    void serve() override;

    bool reset_;
};

}  // namespace hako::virtio::vsock
