#include "virtio/console/queue_worker.h"

#include <utility>

namespace hako::virtio::console {

QueueWorker::QueueWorker(const QueueSetup& setup, Queue queue)
    : setup_(setup),
      queue_(std::move(queue)),
      chain_(kMaxQueueSize),
      doorbell_(setup.engine, *this),
      asked_(queue_.position().next_used) {}

void QueueWorker::start(int kick, bool paused) {
    mode_ = paused ? Mode::kPaused : Mode::kRunning;
    doorbell_.start(kick);
    setup_.engine.schedule(*this);
}

void QueueWorker::drain(std::latch& idle) {
    mode_ = Mode::kPaused;
    idle_ = &idle;
    setup_.engine.schedule(*this);
}

void QueueWorker::resume() {
    mode_ = Mode::kRunning;
    setup_.engine.schedule(*this);
}

void QueueWorker::stop(std::latch& idle) {
    mode_ = Mode::kStopped;
    idle_ = &idle;
    doorbell_.stop();
    setup_.engine.schedule(*this);
}

void QueueWorker::run_batch() {
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
    if (idle_ == nullptr || (mode_ == Mode::kStopped && doorbell_.active())) return;
    setup_.engine.submit_now();  // the interrupt above is out before anyone is told that all is quiet
    std::exchange(idle_, nullptr)->count_down();
}

void QueueWorker::break_down(std::string_view why) {
    setup_.broken = true;
    setup_.hooks.needs_reset(why);
}

}  // namespace hako::virtio::console
