// The queue of an entropy device at work: descriptor chains in, random bytes out.
#pragma once

#include <cstdint>
#include <latch>
#include <string_view>

#include "virtio/device.h"
#include "virtio/queue.h"
#include "virtio/rng/backend.h"
#include "virtio/rng/metrics.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"
#include "vmm/io/timer.h"

namespace hako::virtio::rng {

/// Most bytes of one answer: what a driver can use at once, and no long absence from the disks.
inline constexpr std::uint32_t kMaxAnswer = 64 * 1024;
/// A queue that ran out of tokens waits until it can give this much (what Linux asks for), not a byte.
inline constexpr std::uint32_t kWorthwhile = 64;

/// What the queue works with; all of it outlives the queue.
struct QueueSetup {
    std::uint16_t index = 0;
    io::Engine& engine;
    GuestMemory& memory;
    TransportHooks& hooks;
    Backend& backend;
    QueueMetrics& metrics;
};

/// Serves the one virtqueue. Made and destroyed by the transport's caller, all else happens on the io thread.
///
/// A request is answered in the moment it is popped, and none is popped while there are no tokens for it: so
/// nothing but a timeout is ever in flight.
class RequestQueue final : public io::BatchWork {
  public:
    RequestQueue(const QueueSetup& setup, Queue queue);

    /// Listens to the doorbell and serves what is there already, unless `paused`.
    void start(int kick, bool paused);
    /// Takes no more requests; counts `idle` down once the answers are visible to the guest.
    void drain(std::latch& idle);
    void resume();
    /// drain(), and no longer listens.
    void stop(std::latch& idle);
    /// Waits no longer for what the old limits allow.
    void limits_changed();
    [[nodiscard]] QueuePosition position() const { return queue_.position(); }

    void run_batch() override;

  private:
    enum class Mode { kRunning, kPaused, kStopped };

    void pop_requests();
    [[nodiscard]] bool wait_for_tokens();
    [[nodiscard]] std::uint32_t answer();
    [[nodiscard]] bool fill(const Segment& segment, std::uint32_t length);
    void break_down(std::string_view why);

    QueueSetup setup_;
    Queue queue_;
    Chain chain_;
    io::EventWatch doorbell_;
    io::Timer timer_;
    Mode mode_ = Mode::kPaused;
    std::latch* idle_ = nullptr;
};

}  // namespace hako::virtio::rng
