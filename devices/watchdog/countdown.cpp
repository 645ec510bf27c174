#include "devices/watchdog/countdown.h"

#include <algorithm>
#include <utility>

namespace hako::watchdog {

Countdown::Countdown(std::function<void()> expired, Clock now, const CountdownState& state)
    : expired_(std::move(expired)), now_(now), state_(state) {}

void Countdown::set_course(const Course& course) {
    const std::lock_guard lock(mutex_);
    course_ = course;
}

std::uint64_t Countdown::left() const {
    return static_cast<std::uint64_t>(std::max<std::int64_t>((end_ - now_()).count(), 0));
}

bool Countdown::begin(std::uint8_t stage) {
    const std::chrono::nanoseconds length =
        std::max<std::chrono::nanoseconds>(stage == 1 ? course_.first : course_.second, kShortest);
    state_.stage = stage;
    state_.left_ns = static_cast<std::uint64_t>(length.count());
    if (paused_) return false;
    end_ = now_() + length;
    return !looked_for_ || end_ < *looked_for_;
}

bool Countdown::start() {
    const std::lock_guard lock(mutex_);
    return begin(1);
}

void Countdown::stop() {
    const std::lock_guard lock(mutex_);
    state_.stage = 0;
    state_.left_ns = 0;
}

bool Countdown::reload() {
    const std::lock_guard lock(mutex_);
    ++metrics_.kicks;
    return state_.stage != 0 && begin(1);
}

bool Countdown::resume() {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(paused_, false) || state_.stage == 0) return false;
    end_ = now_() + std::chrono::nanoseconds(state_.left_ns);
    return true;
}

void Countdown::pause() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(paused_, true) || state_.stage == 0) return;
    state_.left_ns = left();
}

void Countdown::clear_interrupt() {
    const std::lock_guard lock(mutex_);
    state_.interrupt = false;
}

void Countdown::clear_timed_out() {
    const std::lock_guard lock(mutex_);
    state_.timed_out = false;
}

CountdownState Countdown::state() const {
    const std::lock_guard lock(mutex_);
    CountdownState state = state_;
    if (!paused_ && state.stage != 0) state.left_ns = left();
    return state;
}

Metrics Countdown::metrics() const {
    const std::lock_guard lock(mutex_);
    return metrics_;
}

std::optional<io::Time> Countdown::look() {
    const std::lock_guard lock(mutex_);
    looked_for_.reset();
    if (paused_ || state_.stage == 0) return std::nullopt;
    if (now_() >= end_) {
        if (state_.stage == 1) {
            ++metrics_.warnings;
            state_.interrupt |= course_.interrupt;
            begin(2);
        } else {
            state_.timed_out = true;
            state_.stage = 0;
            state_.left_ns = 0;
            if (course_.reset) {
                expired_();
                return std::nullopt;
            }
            if (!course_.again) return std::nullopt;
            begin(1);
        }
    }
    looked_for_ = end_;
    return end_;
}

}  // namespace hako::watchdog
