#include "virtio/vhost_user/queues.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "virtio/vhost_ring.h"
#include "virtio/vhost_user/protocol.h"

namespace hako::virtio::vhost_user {

Result<> Queues::activate(const Activation& activation, bool paused) {
    if (active()) return fail_host("it is active already");
    if (!daemon_.connected()) HAKO_TRY(daemon_.reconnect());
    if (Result<> prepared = prepare(activation); !prepared) {
        daemon_.close();
        return prepared;
    }
    failed_ = false;
    hooks_ = &activation.hooks;
    watch(true);
    if (paused) return {};
    Result<> started = start_rings();
    if (!started) {
        failed_ = true;  // the caller says why
        daemon_.close();
        reset();
    }
    return started;
}

/// All but the rings.
Result<> Queues::prepare(const Activation& activation) {
    rings_.clear();
    memory_ = &activation.memory;
    features_ = activation.features;
    count_ = static_cast<std::uint16_t>(activation.queues.size());
    for (std::uint16_t i = 0; i < count_; ++i) {
        const QueueConfig& config = activation.queues[i];
        if (!config.enabled) continue;
        if (i >= activation.kicks.size()) return fail_host("queue {} has no doorbell", i);
        HAKO_TRY_WRAP(vhost_ring_addresses(*memory_, i, config), "queue {}", i);
        rings_.push_back(
            {.index = i,
             .config = config,
             .kick = activation.kicks[i].fd(),
             .position = i < activation.positions.size() ? activation.positions[i] : QueuePosition{}});
    }
    error_ = HAKO_TRY(EventFd::create());
    daemon_.start_clock();
    HAKO_TRY(daemon_.set_memory(*memory_));
    if (log_) HAKO_TRY(daemon_.set_log(log_->fd(), log_->size()));
    return tell_features();
}

Result<> Queues::tell_features() {
    return daemon_.set_features(features_ | (log_ ? feature::kLogAll : 0));
}

Result<> Queues::start_rings() {
    daemon_.start_clock();
    running_ = true;
    for (const Ring& ring : rings_)
        HAKO_TRY_WRAP(start(ring), "queue {}", ring.index);
    return {};
}

Result<> Queues::start(const Ring& ring) {
    HAKO_TRY(daemon_.set_ring_size(ring.index, ring.config.size));
    HAKO_TRY(daemon_.set_ring_base(ring.index, ring.position.next_avail));
    HAKO_TRY(tell_addresses(ring));
    HAKO_TRY(daemon_.set_ring_error(ring.index, error_->fd()));
    HAKO_TRY(
        daemon_.set_ring_call(ring.index, hooks_->queue_interrupt(static_cast<std::uint16_t>(ring.index))));
    HAKO_TRY(daemon_.set_ring_kick(ring.index, ring.kick));
    HAKO_TRY(daemon_.enable_ring(ring.index, true));
    // Whoever listened to the doorbell before may have taken what was rung.
    ::eventfd_write(ring.kick, 1);
    return {};
}

Result<> Queues::tell_addresses(const Ring& ring) {
    vhost_vring_addr addresses = HAKO_TRY(vhost_ring_addresses(*memory_, ring.index, ring.config));
    if (log_) {
        addresses.flags = 1U << VHOST_VRING_F_LOG;
        addresses.log_guest_addr = ring.config.device.value;
    }
    return daemon_.set_ring_addresses(addresses);
}

/// Rings of a daemon that fails stand where the driver was last told: what it was doing is lost.
void Queues::stop_rings() {
    if (!std::exchange(running_, false)) return;
    daemon_.start_clock();
    for (Ring& ring : rings_) {
        const auto used = vhost_ring_position(*memory_, ring.config.device, 0).next_used;
        ring.position = {.next_avail = used, .next_used = used};
        if (!daemon_.connected()) continue;
        const auto next = daemon_.stop_ring(ring.index);
        if (next)
            ring.position = vhost_ring_position(*memory_, ring.config.device, *next);
        else
            give_up(next.error());
    }
}

void Queues::reset() {
    if (!active()) return;
    stop_rings();
    watch(false);
    hooks_ = nullptr;
    rings_.clear();
    error_.reset();
}

void Queues::pause() {
    if (active()) stop_rings();
}

void Queues::resume() {
    if (!active() || running_ || failed()) return;
    check(start_rings());
}

void Queues::queue_interrupt_changed(std::uint16_t index) {
    if (!active() || !running_ || failed()) return;
    const auto ring = std::ranges::find(rings_, index, &Ring::index);
    if (ring == rings_.end()) return;
    daemon_.start_clock();
    check(daemon_.set_ring_call(index, hooks_->queue_interrupt(index)));
}

std::vector<QueuePosition> Queues::positions() const {
    if (!active()) return {};
    std::vector<QueuePosition> positions(count_);
    for (const Ring& ring : rings_)
        positions[ring.index] = ring.position;
    return positions;
}

Result<> Queues::set_logging(bool on, GuestMemory& memory) {
    if (on && !daemon_.can_log()) return fail_conflict("its daemon cannot tell what it writes");
    if (on == log_.has_value()) return {};
    if (on)
        log_.emplace(HAKO_TRY(WriteLog::create(memory)));
    else
        log_.reset();
    if (!active() || failed()) return {};
    daemon_.start_clock();
    const auto change = [&]() -> Result<> {
        if (log_) HAKO_TRY(daemon_.set_log(log_->fd(), log_->size()));
        HAKO_TRY(tell_features());
        for (const Ring& ring : rings_)
            if (running_) HAKO_TRY(tell_addresses(ring));
        return {};
    };
    Result<> changed = change();
    check(changed);
    if (!changed && on) log_.reset();
    return changed;
}

void Queues::collect_log() {
    if (log_ && memory_ != nullptr) log_->take_into(*memory_);
}

void Queues::memory_changed() {
    if (!active() || failed()) return;
    daemon_.start_clock();
    check(daemon_.set_memory(*memory_));
}

void Queues::check(const Result<>& result) {
    if (!result) give_up(result.error());
}

/// In this order: the end of the connection tells the io thread, too, that the daemon is gone.
void Queues::give_up(const Error& error) {
    fail(error.text());
    daemon_.close();
}

/// Any thread.
void Queues::fail(std::string_view why) {
    if (!failed_.exchange(true)) hooks_->needs_reset(why);
}

void Queues::watch(bool on) {
    if (on) {
        engine_.run_sync([&] {
            errors_heard_ = false;
            hangup_.start(daemon_.fd());
            errors_.start(error_->fd());
        });
        return;
    }
    std::latch idle(1);
    engine_.run_sync([&] {
        idle_ = &idle;
        hangup_.stop();
        errors_.stop();
        engine_.schedule(*this);
    });
    idle.wait();
    engine_.run_sync([&] { engine_.unschedule(*this); });
}

void Queues::run_batch() {
    if (idle_ != nullptr) {
        if (!hangup_.active() && !errors_.active()) std::exchange(idle_, nullptr)->count_down();
        return;
    }
    if (hangup_.hung_up()) return fail("its daemon is gone");
    if (!std::exchange(errors_heard_, true)) fail("its daemon says that a queue breaks the rules");
}

}  // namespace hako::virtio::vhost_user
