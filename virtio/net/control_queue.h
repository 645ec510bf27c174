// The control queue of a network device: commands of the driver (virtio 1.3, 5.1.6.5).
#pragma once

#include <cstdint>

#include "virtio/net/protocol.h"
#include "virtio/net/queue_worker.h"

namespace hako::virtio::net {

/// What commands do. Called on the io thread; false: it cannot be done, nothing has changed.
class ControlActions {
  public:
    virtual bool set_queue_pairs(std::uint16_t pairs) = 0;
    virtual bool set_guest_offloads(std::uint64_t offloads) = 0;
    virtual void set_promiscuous(bool on) = 0;
    virtual void set_all_multicast(bool on) = 0;
    virtual void set_mac(const Mac& mac) = 0;
    virtual void announced() = 0;

  protected:
    ~ControlActions() = default;
};

/// Commands are done at once. Their ioctls may wait a little for the host's network configuration; drivers
/// give a few of them in a lifetime.
class ControlQueue final : public QueueWorker {
  public:
    ControlQueue(const QueueSetup& setup, Queue queue, ControlActions& actions, std::uint16_t max_pairs);

  private:
    void serve() override;
    void answer();
    [[nodiscard]] ControlAck obey();
    bool carry_out(const SetQueuePairs& command) { return actions_.set_queue_pairs(command.pairs); }
    bool carry_out(const SetGuestOffloads& command) { return actions_.set_guest_offloads(command.offloads); }
    bool carry_out(const SetPromiscuous& command) { return actions_.set_promiscuous(command.on), true; }
    bool carry_out(const SetAllMulticast& command) { return actions_.set_all_multicast(command.on), true; }
    bool carry_out(const SetMacTable& /*command*/) { return true; }
    bool carry_out(const SetMac& command) { return actions_.set_mac(command.mac), true; }
    bool carry_out(const AckAnnounce& /*command*/) { return actions_.announced(), true; }

    ControlActions& actions_;
    const std::uint16_t max_pairs_;
    Chain chain_;
};

}  // namespace hako::virtio::net
