#include "virtio/net/stream_link.h"

#include <algorithm>
#include <utility>

namespace hako::virtio::net {

void StreamLink::start() {
    if (stream_.connected()) {
        connected();
    } else {
        backend_.carrier = false;
        engine_.schedule(*this);
    }
}

void StreamLink::stop(std::latch& idle) {
    idle_ = &idle;
    timer_.stop();
    engine_.schedule(*this);
}

void StreamLink::resume() {
    paused_ = false;
    engine_.schedule(*this);
}

void StreamLink::set_users(TransportHooks* hooks, std::array<io::BatchWork*, 2> queues) {
    hooks_ = hooks;
    queues_ = queues;
}

void StreamLink::connected() {
    file_ = {.fd = stream_.fd()};
    up_ = true;
    backend_.carrier = true;
}

void StreamLink::ended() {
    --in_kernel_;
    if (!up_) engine_.schedule(*this);
}

void StreamLink::lost(std::string_view why) {
    if (!up_) return;
    up_ = false;
    backend_.carrier = false;
    stream_.shut_down();
    backend_.log.warn(
        "network socket {} is lost ({}): {}", backend_.name, why,
        stream_.can_connect() ? "its VM has no link until it is back" : "its VM goes on without it");
    tell();
    engine_.schedule(*this);
}

void StreamLink::run_batch() {
    if (in_kernel_ == 0 && !up_ && stream_.connected()) {
        file_ = {};
        stream_.close();
    }
    if (idle_ != nullptr) {
        if (in_kernel_ != 0 || timer_.active()) return;
        file_ = {};
        std::exchange(idle_, nullptr)->count_down();
        return;
    }
    if (up_ || paused_ || stream_.connected() || timer_.active() || !stream_.can_connect()) return;
    if (waited_ && stream_.connect()) {
        waited_ = false;
        connected();
        back_log_.warn("network socket {} is back", backend_.name);
        tell();
        for (io::BatchWork* const queue : queues_) {
            if (queue != nullptr) engine_.schedule(*queue);
        }
        return;
    }
    waited_ = true;
    timer_.start(delay_);
    delay_ = std::min(2 * delay_, kLongestDelay);
}

void StreamLink::tell() {
    if (hooks_ != nullptr) hooks_->config_changed();
}

}  // namespace hako::virtio::net
