// What all queues of a network device have in common: a doorbell, a life, and one interrupt a batch.
#pragma once

#include <cstdint>
#include <latch>
#include <string_view>

#include "virtio/device.h"
#include "virtio/net/backend.h"
#include "virtio/net/metrics.h"
#include "virtio/queue.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"

namespace hako::virtio::net {

/// What a queue works with; all of it outlives the queue.
struct QueueSetup {
    std::uint16_t index = 0;
    io::Engine& engine;
    GuestMemory& memory;
    TransportHooks& hooks;
    Backend& backend;
    QueueMetrics& metrics;
    std::uint64_t features = 0;  ///< negotiated
};

/// Serves one virtqueue. Made and destroyed by the transport's caller, all else happens on the io thread.
///
/// A wake-up reaps completions, then run_batch() lets the queue serve(), publishes the used index once and
/// raises one interrupt, if any.
class QueueWorker : public io::BatchWork {
  public:
    QueueWorker(const QueueSetup& setup, Queue queue);

    /// Listens to the doorbell and serves what is there already, unless `paused`.
    void start(int kick, bool paused);
    /// Takes no more requests; counts `idle` down once those in flight are visible to the guest.
    void drain(std::latch& idle);
    void resume();
    /// drain(), and no longer listens.
    void stop(std::latch& idle);
    [[nodiscard]] QueuePosition position() const { return queue_.position(); }

    void run_batch() final;

  protected:
    /// Does what there is to do; bounded.
    virtual void serve() = 0;
    /// Whether something of this queue is still with the kernel.
    [[nodiscard]] virtual bool busy() const { return queue_.in_flight() != 0; }
    /// Calls back what waits in the kernel for others, since nothing of the guest's will end it.
    virtual void cancel_waiting() {}
    virtual void stopping() {}

    [[nodiscard]] bool running() const { return mode_ == Mode::kRunning && !setup_.backend.broken; }
    [[nodiscard]] bool draining() const {
        return mode_ == Mode::kPaused && idle_ != nullptr && !setup_.backend.broken;
    }
    [[nodiscard]] bool stopped() const { return mode_ == Mode::kStopped; }
    void break_down(std::string_view why);

    QueueSetup setup_;
    Queue queue_;

  private:
    enum class Mode { kRunning, kPaused, kStopped };

    io::EventWatch doorbell_;
    Mode mode_ = Mode::kPaused;
    std::latch* idle_ = nullptr;
};

}  // namespace hako::virtio::net
