// The two control queues of a console device (virtio 1.3, 5.3.6.2).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "virtio/console/guest_port.h"
#include "virtio/console/protocol.h"
#include "virtio/console/queue_worker.h"
#include "vmm/base/log.h"

namespace hako::virtio::console {

using Ports = std::vector<std::unique_ptr<GuestPort>>;

/// Messages to the driver. Nothing queues up: a port has a bit for each kind, and what a message says is how
/// things stand when the driver offers a buffer.
class ControlRxQueue final : public QueueWorker {
  public:
    ControlRxQueue(const QueueSetup& setup, Queue queue, const Ports& ports);

  private:
    void serve() override;
    [[nodiscard]] bool send(GuestPort& port);
    [[nodiscard]] bool put(const DeviceMessage& message);

    const Ports& ports_;
};

/// Messages from the driver. What makes no sense is passed over and counted.
class ControlTxQueue final : public QueueWorker {
  public:
    ControlTxQueue(const QueueSetup& setup, Queue queue, const Ports& ports, ControlSender& sender);

  private:
    void serve() override;
    [[nodiscard]] bool obey();
    bool obey(const DeviceReady& message);
    bool obey(const PortReady& message);
    bool obey(const PortOpen& message);

    const Ports& ports_;
    ControlSender& sender_;
    LogLimit log_;
};

}  // namespace hako::virtio::console
