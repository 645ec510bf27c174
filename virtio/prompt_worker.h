// What the queues of consoles, vsocks and balloons have in common: a doorbell, a life, and one interrupt a
// batch.
#pragma once

#include <cstdint>
#include <latch>
#include <string_view>
#include <utility>

#include "virtio/device.h"
#include "virtio/queue.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"

namespace hako::virtio {

/// What a queue works with. All of it outlives the queue.
template <typename Metrics>
struct PromptSetup {
    std::uint16_t index = 0;
    io::Engine& engine;
    GuestMemory& memory;
    TransportHooks& hooks;
    bool& broken;  ///< the device broke down: io thread
    Metrics& metrics;
};

/// Serves one virtqueue. Made and destroyed by the transport's caller, all else happens on the io thread.
///
/// Every chain is given back in the moment it is taken, so nothing of a queue is ever with the kernel: what
/// there is no room for stays in the available ring. `Metrics`: the queue's, with `interrupts`.
template <typename Metrics>
class PromptWorker : public io::BatchWork {
  public:
    PromptWorker(const PromptSetup<Metrics>& setup, Queue queue)
        : setup_(setup),
          queue_(std::move(queue)),
          chain_(kMaxQueueSize),
          doorbell_(setup.engine, *this),
          asked_(queue_.position().next_used) {}

    /// Listens to the doorbell and serves what is there already, unless `paused`.
    void start(int kick, bool paused) {
        mode_ = paused ? Mode::kPaused : Mode::kRunning;
        doorbell_.start(kick);
        setup_.engine.schedule(*this);
    }
    /// Takes no more; counts `idle` down once all that was done is visible to the guest.
    void drain(std::latch& idle) {
        mode_ = Mode::kPaused;
        idle_ = &idle;
        setup_.engine.schedule(*this);
    }
    void resume() {
        mode_ = Mode::kRunning;
        setup_.engine.schedule(*this);
    }
    /// drain(), and no longer listens.
    void stop(std::latch& idle) {
        mode_ = Mode::kStopped;
        idle_ = &idle;
        doorbell_.stop();
        setup_.engine.schedule(*this);
    }
    [[nodiscard]] QueuePosition position() const { return queue_.position(); }

    void run_batch() final {
        if (running()) serve();
        queue_.publish();
        const std::uint16_t used = queue_.position().next_used;
        if (used != asked_ && driver_looks() && idle_ == nullptr && !std::exchange(asks_next_, true))
            return setup_.engine.schedule(*this);
        asks_next_ = false;
        asked_ = used;
        if (queue_.needs_interrupt()) {
            if (const int interrupt = setup_.hooks.queue_interrupt(setup_.index); interrupt >= 0) {
                setup_.engine.signal(interrupt);
                setup_.metrics.interrupts.add(1);
            }
        }
        if (idle_ == nullptr || (mode_ == Mode::kStopped && (doorbell_.active() || !at_rest()))) return;
        setup_.engine.submit_now();  // the interrupt above is out before anyone is told that all is quiet
        std::exchange(idle_, nullptr)->count_down();
    }

  protected:
    /// Does what there is to do; bounded.
    virtual void serve() = 0;
    /// Whether the driver tends to look for its buffers by itself, and an interrupt may come a moment later.
    [[nodiscard]] virtual bool driver_looks() const { return false; }
    /// Whether nothing of the queue's own is with the kernel; asks for its end. Called until it is.
    [[nodiscard]] virtual bool at_rest() { return true; }
    [[nodiscard]] bool running() const { return mode_ == Mode::kRunning && !setup_.broken; }
    void break_down(std::string_view why) {
        setup_.broken = true;
        setup_.hooks.needs_reset(why);
    }

    PromptSetup<Metrics> setup_;
    Queue queue_;
    Chain chain_;

  private:
    enum class Mode { kRunning, kPaused, kStopped };

    io::EventWatch doorbell_;
    Mode mode_ = Mode::kPaused;
    std::latch* idle_ = nullptr;
    std::uint16_t asked_;     ///< the used index when it was last asked whether an interrupt is wanted
    bool asks_next_ = false;  ///< it is asked in the next round
};

}  // namespace hako::virtio
