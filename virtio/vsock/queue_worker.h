// What all queues of a vsock device have in common: a doorbell, a life, and one interrupt a batch.
#pragma once

#include <cstdint>
#include <latch>
#include <string_view>

#include "virtio/device.h"
#include "virtio/queue.h"
#include "virtio/vsock/metrics.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"

namespace hako::virtio::vsock {

/// What a queue works with; all of it outlives the queue.
struct QueueSetup {
    std::uint16_t index = 0;
    io::Engine& engine;
    GuestMemory& memory;
    TransportHooks& hooks;
    bool& broken;  ///< the device broke down: io thread
    QueueMetrics& metrics;
};

/// Serves one virtqueue. Made and destroyed by the transport's caller, all else happens on the io thread.
///
/// Every chain is given back in the moment it is taken, so nothing of a queue is ever with the kernel.
class QueueWorker : public io::BatchWork {
  public:
    QueueWorker(const QueueSetup& setup, Queue queue);

    /// Listens to the doorbell and serves what is there already, unless `paused`.
    void start(int kick, bool paused);
    /// Takes no more; counts `idle` down once all that was done is visible to the guest.
    void drain(std::latch& idle);
    void resume();
    /// drain(), and no longer listens.
    void stop(std::latch& idle);
    [[nodiscard]] QueuePosition position() const { return queue_.position(); }

    void run_batch() final;

  protected:
    /// Does what there is to do; bounded.
    virtual void serve() = 0;
    [[nodiscard]] bool running() const { return mode_ == Mode::kRunning && !setup_.broken; }
    void break_down(std::string_view why);

    QueueSetup setup_;
    Queue queue_;
    Chain chain_;

  private:
    enum class Mode { kRunning, kPaused, kStopped };

    io::EventWatch doorbell_;
    Mode mode_ = Mode::kPaused;
    std::latch* idle_ = nullptr;
};

}  // namespace hako::virtio::vsock
