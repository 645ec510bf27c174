// A port's transmit queue: output of the guest.
#pragma once

#include <cstdint>

#include "virtio/console/guest_port.h"
#include "virtio/console/queue_worker.h"

namespace hako::virtio::console {

/// A chain that the host's end has room for in part only goes back to the available ring, and the port's
/// state remembers how much of it is taken: no pause and no reset waits for a slow file.
class TxQueue final : public QueueWorker {
  public:
    TxQueue(const QueueSetup& setup, Queue queue, GuestPort& port);

  private:
    void serve() override;
    /// Linux waits in a loop for a console's bytes to be taken. An interrupt that comes when it has seen so
    /// by itself is nobody's, and after 100,000 of them it says so and masks the vector.
    [[nodiscard]] bool driver_looks() const override { return true; }
    [[nodiscard]] bool write_out();

    GuestPort& port_;
};

}  // namespace hako::virtio::console
