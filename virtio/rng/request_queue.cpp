#include "virtio/rng/request_queue.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace hako::virtio::rng {
namespace {

/// Bytes after which a batch ends, so that the engine's other devices come in between.
constexpr std::uint32_t kBatchBytes = 64 * 1024;

}  // namespace

RequestQueue::RequestQueue(const QueueSetup& setup, Queue queue)
    : setup_(setup),
      queue_(std::move(queue)),
      chain_(kMaxQueueSize),
      doorbell_(setup.engine, *this),
      timer_(setup.engine, *this) {}

void RequestQueue::start(int kick, bool paused) {
    mode_ = paused ? Mode::kPaused : Mode::kRunning;
    doorbell_.start(kick);
    setup_.engine.schedule(*this);
}

void RequestQueue::drain(std::latch& idle) {
    mode_ = Mode::kPaused;
    idle_ = &idle;
    timer_.stop();
    setup_.engine.schedule(*this);
}

void RequestQueue::resume() {
    mode_ = Mode::kRunning;
    setup_.engine.schedule(*this);
}

void RequestQueue::stop(std::latch& idle) {
    mode_ = Mode::kStopped;
    idle_ = &idle;
    doorbell_.stop();
    timer_.stop();
    setup_.engine.schedule(*this);
}

void RequestQueue::limits_changed() {
    timer_.stop();
    setup_.engine.schedule(*this);
}

void RequestQueue::run_batch() {
    if (mode_ == Mode::kRunning && !setup_.backend.broken) pop_requests();
    queue_.publish();
    if (queue_.needs_interrupt()) {
        if (const int interrupt = setup_.hooks.queue_interrupt(setup_.index); interrupt >= 0) {
            setup_.engine.signal(interrupt);
            setup_.metrics.interrupts.add(1);
        }
    }
    if (idle_ == nullptr || timer_.active()) return;
    if (mode_ == Mode::kStopped && doorbell_.active()) return;
    setup_.engine.submit_now();  // the interrupt above is out before anyone is told that all is quiet
    std::exchange(idle_, nullptr)->count_down();
}

void RequestQueue::pop_requests() {
    queue_.disable_notifications();
    std::uint16_t left = queue_.size();
    for (std::uint32_t bytes = 0;;) {
        for (; left > 0 && bytes < kBatchBytes; --left) {
            // No doorbell is needed while it waits: the timeout wakes it.
            if (wait_for_tokens()) return;
            const auto popped = queue_.pop(chain_);
            if (!popped) return break_down(fault_text(popped.error()));
            if (!*popped) break;
            bytes += answer();
            if (setup_.backend.broken) return;
        }
        if (left == 0 || bytes >= kBatchBytes) {
            // The engine's other devices come first, then we go on.
            setup_.engine.schedule(*this);
            return;
        }
        if (!queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

/// True: there are no tokens for an answer, and the queue will be woken when there are.
bool RequestQueue::wait_for_tokens() {
    Backend& backend = setup_.backend;
    if (!backend.limiter.limited()) return false;
    const std::chrono::nanoseconds wait = backend.limiter.wait(kWorthwhile, backend.now());
    if (wait == std::chrono::nanoseconds::zero()) return false;
    if (!timer_.active()) {
        timer_.start(wait);
        setup_.metrics.throttled.add(1);
    }
    return true;
}

/// Answers the popped chain; the bytes it was given. Less than there is room for is as good (virtio 1.3,
/// 5.4.6.2): the driver has to look at the length (5.4.6.1).
std::uint32_t RequestQueue::answer() {
    Backend& backend = setup_.backend;
    // The driver must not give buffers to read (5.4.6.1): they are left alone. But each chain has to be given
    // a byte at least (5.4.6.2), and one that has no room for it cannot be: an answer of length 0 would break
    // the device's own rule.
    if (chain_.writable().empty()) {
        queue_.forget(chain_.head());
        break_down("an entropy request has no device-writable buffer");
        return 0;
    }
    const io::Time now = backend.now();
    const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(
        std::min(chain_.writable_bytes(), kMaxAnswer), backend.limiter.available_bytes(now)));
    std::uint32_t left = length;
    for (const Segment& segment : chain_.writable()) {
        const std::uint32_t count = std::min(segment.length, left);
        if (count == 0) break;
        if (!fill(segment, count)) {
            queue_.forget(chain_.head());
            break_down("the host gives no random bytes: getrandom fails (is it allowed by its sandbox?)");
            return 0;
        }
        left -= count;
    }
    backend.limiter.take(length, now);
    queue_.push_used(chain_.head(), length);
    setup_.metrics.requests.add(1);
    setup_.metrics.bytes.add(length);
    return length;
}

bool RequestQueue::fill(const Segment& segment, std::uint32_t length) {
    std::uint32_t done = 0;
    while (done < length) {
        const ssize_t count = setup_.backend.random(segment.host + done, length - done, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        done += static_cast<std::uint32_t>(count);
    }
    if (done > 0) setup_.memory.mark_dirty(segment.address, done);
    return done == length;
}

void RequestQueue::break_down(std::string_view why) {
    setup_.backend.broken = true;
    setup_.hooks.needs_reset(why);
}

}  // namespace hako::virtio::rng
