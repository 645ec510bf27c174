#include "virtio/vsock/queue_worker.h"

#include <utility>

namespace hako::virtio::vsock {

QueueWorker::QueueWorker(const QueueSetup& setup, Queue queue)
    : setup_(setup), queue_(std::move(queue)), chain_(kMaxQueueSize), doorbell_(setup.engine, *this) {}

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

}  // namespace hako::virtio::vsock
