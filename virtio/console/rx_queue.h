// A port's receive queue: input for the guest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "virtio/console/guest_port.h"
#include "virtio/console/queue_worker.h"

namespace hako::virtio::console {

/// Input waits at the host's end until the driver has offered buffers.
class RxQueue final : public QueueWorker {
  public:
    RxQueue(const QueueSetup& setup, Queue queue, GuestPort& port);

    /// Puts input into the driver's buffers; how many of the bytes. If not all, the port asks for the rest.
    std::size_t receive(std::span<const std::uint8_t> bytes);

  private:
    void serve() override;
    [[nodiscard]] bool take_chain();
    [[nodiscard]] std::size_t fill(std::span<const std::uint8_t> bytes);

    GuestPort& port_;
    bool short_ = true;  ///< input may wait for buffers
};

}  // namespace hako::virtio::console
