// The queue pairs of an interface that the kernel serves.
#pragma once

#include <cstdint>
#include <latch>
#include <span>
#include <vector>

#include "virtio/device.h"
#include "virtio/net/backend.h"
#include "virtio/net/tap.h"
#include "virtio/net/vhost.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/result.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"

namespace hako::virtio::net {

/// From an activation to the reset. The doorbells go to the kernel and its interrupts to the guest; hako
/// only starts and stops it, and hears of rings that break the rules. Nothing is counted: the tap's own
/// counters tell. io thread only, but for its making.
class VhostPairs final : public io::BatchWork {
  public:
    /// All of it outlives this; a tap and a vhost for each pair.
    VhostPairs(io::Engine& engine, Backend& backend, std::span<Tap> taps, std::span<Vhost> vhosts,
               const Activation& activation, EventFd error);

    /// Gives the queues to the kernel; not served yet.
    Result<> set_up(std::span<const QueueConfig> queues, std::span<const EventFd> kicks,
                    std::span<const QueuePosition> positions);
    void start(bool paused);
    /// Counts `idle` down when nothing of it is left in the kernel.
    void stop(std::latch& idle);
    void pause();
    void resume();
    /// Has exactly those pairs served that are active and should be: after each change of Backend.
    void update();
    /// Tells the kernel of regions that came or went.
    void memory_changed();
    /// Tells the kernel of a changed TransportHooks::queue_interrupt().
    void queue_interrupt_changed(std::uint16_t index);
    /// Of queue `index`; paused.
    [[nodiscard]] QueuePosition position(std::uint16_t index) const;

    void run_batch() override;

  private:
    struct Pair {
        bool set_up = false;
        bool served = false;
        int kicks[2] = {-1, -1};
        GuestAddress used[2];
    };

    void serve(std::size_t index, bool on);
    void complain(const Error& error);

    io::Engine& engine_;
    Backend& backend_;
    std::span<Tap> taps_;
    std::span<Vhost> vhosts_;
    GuestMemory& memory_;
    TransportHooks& hooks_;
    const std::uint64_t features_;
    const EventFd error_;
    io::EventWatch watch_;
    std::vector<Pair> pairs_;
    std::latch* idle_ = nullptr;
    bool running_ = false;
};

}  // namespace hako::virtio::net
