// A port's transmit queue: output of the guest.
#pragma once

#include <cstdint>

#include "virtio/console/guest_port.h"
#include "virtio/console/queue_worker.h"

namespace hako::virtio::console {

/// A chain that the host's end has room for in part only goes back to the available ring, and the port's state
/// remembers how much of it is taken: no pause and no reset waits for a slow file.
class TxQueue final : public QueueWorker {
  public:
    TxQueue(const QueueSetup& setup, Queue queue, GuestPort& port);

  private:
    void serve() override;
    [[nodiscard]] bool write_out();

    GuestPort& port_;
};

}  // namespace hako::virtio::console
