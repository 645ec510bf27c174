#include "virtio/net/vhost_pairs.h"

#include <sys/eventfd.h>

#include <utility>

namespace hako::virtio::net {

VhostPairs::VhostPairs(io::Engine& engine, Backend& backend, std::span<Tap> taps, std::span<Vhost> vhosts,
                       const Activation& activation, EventFd error)
    : engine_(engine),
      backend_(backend),
      taps_(taps),
      vhosts_(vhosts),
      memory_(activation.memory),
      hooks_(activation.hooks),
      features_(activation.features),
      error_(std::move(error)),
      watch_(engine, *this),
      pairs_(taps.size()) {}

Result<> VhostPairs::set_up(std::span<const QueueConfig> queues, std::span<const EventFd> kicks,
                            std::span<const QueuePosition> positions) {
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
        // A driver that uses a pair has enabled both queues of it.
        if (2 * i + 1 >= queues.size() || !queues[2 * i].enabled || !queues[2 * i + 1].enabled) continue;
        HAKO_TRY(vhosts_[i].set_up(memory_, features_));
        for (unsigned ring = 0; ring < 2; ++ring) {
            const std::size_t index = 2 * i + ring;
            const std::uint16_t next =
                index < positions.size() ? positions[index].next_avail : std::uint16_t{0};
            HAKO_TRY_WRAP(
                vhosts_[i].set_up_queue(ring, memory_, queues[index], next, kicks[index].fd(), error_.fd()),
                "queue {}", index);
            pairs_[i].kicks[ring] = kicks[index].fd();
            pairs_[i].used[ring] = queues[index].device;
        }
        pairs_[i].set_up = true;
        queue_interrupt_changed(static_cast<std::uint16_t>(2 * i));
        queue_interrupt_changed(static_cast<std::uint16_t>(2 * i + 1));
    }
    return {};
}

void VhostPairs::start(bool paused) {
    watch_.start(error_.fd());
    running_ = !paused;
    update();
}

void VhostPairs::stop(std::latch& idle) {
    running_ = false;
    update();
    idle_ = &idle;
    watch_.stop();
    engine_.schedule(*this);
}

void VhostPairs::pause() {
    running_ = false;
    update();
}

void VhostPairs::resume() {
    running_ = true;
    update();
}

void VhostPairs::update() {
    const bool on = running_ && !backend_.broken && backend_.link_up.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < pairs_.size(); ++i)
        serve(i, on && backend_.pairs[i].active);
    // One that could not be started stops all.
    for (std::size_t i = 0; on && backend_.broken && i < pairs_.size(); ++i)
        serve(i, false);
}

void VhostPairs::serve(std::size_t index, bool on) {
    Pair& pair = pairs_[index];
    if (!pair.set_up || pair.served == on) return;
    const auto done = on ? vhosts_[index].start(taps_[index].fd()) : vhosts_[index].stop();
    pair.served = on;
    if (!done) return complain(done.error());
    if (!on) return;
    // The kernel did not hear what was rung while it was not listening.
    for (const int kick : pair.kicks)
        ::eventfd_write(kick, 1);
}

void VhostPairs::memory_changed() {
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
        if (!pairs_[i].set_up) continue;
        if (const auto set = vhosts_[i].set_memory(memory_); !set) complain(set.error());
    }
}

void VhostPairs::queue_interrupt_changed(std::uint16_t index) {
    const std::size_t pair = index / 2;
    if (pair >= pairs_.size() || !pairs_[pair].set_up) return;
    if (const auto set = vhosts_[pair].set_call(index % 2, hooks_.queue_interrupt(index)); !set)
        complain(set.error());
}

QueuePosition VhostPairs::position(std::uint16_t index) const {
    const std::size_t pair = index / 2;
    if (pair >= pairs_.size() || !pairs_[pair].set_up) return {};
    const auto next = vhosts_[pair].next_avail(index % 2);
    return vhost_ring_position(memory_, pairs_[pair].used[index % 2], next.value_or(0));
}

void VhostPairs::complain(const Error& error) {
    if (std::exchange(backend_.broken, true)) return;
    hooks_.needs_reset(error.text());
}

void VhostPairs::run_batch() {
    if (idle_ == nullptr && error_.take() > 0) {
        if (!std::exchange(backend_.broken, true))
            hooks_.needs_reset("vhost-net found a queue that breaks the rules");
        update();
    }
    if (idle_ != nullptr && !watch_.active()) std::exchange(idle_, nullptr)->count_down();
}

}  // namespace hako::virtio::net
