#include "virtio/throttle.h"

#include <algorithm>
#include <ranges>

namespace hako::virtio {

Throttle::Throttle(io::Engine& engine, const io::RateLimits& limits, std::size_t queues, Clock now)
    : engine_(engine), limiter_(limits, now()), now_(now), timer_(engine, *this) {
    waiting_.reserve(queues);
    waking_.reserve(queues);
}

Throttle::~Throttle() {
    // The timeout is the kernel's until its completion, which runs as work of the io thread: rounds of it
    // pass until then.
    engine_.run_sync([&] { timer_.stop(); });
    while (engine_.run_sync([&] { return timer_.active(); })) {
    }
    engine_.run_sync([&] { engine_.unschedule(*this); });
}

bool Throttle::admit(BatchWork& queue, MetricCounter& throttled) {
    if (!limiter_.limited()) return true;
    if (!holding_) {
        const std::chrono::nanoseconds time = limiter_.wait_for_some(now_());
        if (time == std::chrono::nanoseconds::zero()) return true;
        wait(time);
    }
    if (std::ranges::find(waiting_, &queue) == waiting_.end()) {
        waiting_.push_back(&queue);
        throttled.add(1);
    }
    return false;
}

void Throttle::wait(std::chrono::nanoseconds time) {
    holding_ = true;
    // One that was called back is not over yet: run_batch() looks again then.
    if (!timer_.active()) timer_.start(time);
}

std::uint64_t Throttle::room(std::uint64_t bytes) {
    const io::Time now = now_();
    const std::uint64_t by_bytes = limiter_.available_bytes(now) / std::max<std::uint64_t>(bytes, 1);
    return std::max<std::uint64_t>(std::min(by_bytes, limiter_.available_operations(now)), 1);
}

bool Throttle::covers(std::uint64_t operations, std::uint64_t bytes) {
    const io::Time now = now_();
    return limiter_.available_operations(now) > operations && limiter_.available_bytes(now) > bytes;
}

void Throttle::take(std::uint64_t bytes) {
    if (limiter_.limited()) limiter_.take(bytes, now_());
}

void Throttle::take_bytes(std::uint64_t bytes) {
    if (limiter_.limited()) limiter_.take_bytes(bytes, now_());
}

void Throttle::leave(BatchWork& queue) {
    std::erase(waiting_, &queue);
    if (!waiting_.empty()) return;
    holding_ = false;
    timer_.stop();
}

void Throttle::wake() {
    if (holding_) timer_.stop();
    release();
    for (BatchWork* queue : std::views::reverse(waking_))  // what was scheduled last runs first
        engine_.schedule(*queue);
    waking_.clear();
}

/// Moves all that wait to waking_.
void Throttle::release() {
    holding_ = false;
    waking_.swap(waiting_);
    // Whoever comes first may take all there is: next time it is another.
    if (!waking_.empty()) std::ranges::rotate(waking_, waking_.begin() + 1);
}

void Throttle::set_limits(const io::RateLimits& limits) {
    limiter_.set_limits(limits, now_());
    wake();
}

void Throttle::run_batch() {
    if (!holding_ || timer_.active()) return;
    const std::chrono::nanoseconds time = limiter_.wait_for_some(now_());
    if (time > std::chrono::nanoseconds::zero()) return timer_.start(time);
    release();
    // At once instead of in the next round: that would be one more system call.
    for (BatchWork* queue : waking_)
        queue->run_batch();
    waking_.clear();
}

}  // namespace hako::virtio
