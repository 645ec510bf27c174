#include "virtio/vsock/device.h"

#include <algorithm>
#include <latch>
#include <utility>

#include "virtio/config_bytes.h"
#include "virtio/quiesce.h"
#include "virtio/vsock/event_queue.h"
#include "virtio/vsock/protocol.h"
#include "virtio/vsock/rx_queue.h"
#include "virtio/vsock/tx_queue.h"

namespace hako::virtio::vsock {
namespace {

constexpr std::uint64_t kFeatures = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                                    virtio::feature::kEventIdx | feature::kStream;

}  // namespace

Result<std::unique_ptr<VsockDevice>> VsockDevice::create(const Config& config, HostEnd end,
                                                         io::Engine& engine,
                                                         const std::optional<State>& state) {
    if (config.cid < kMinCid || config.cid > kMaxCid)
        return fail_input("vsock {}: CID {}: give one from {} to {}", config.id, config.cid, kMinCid,
                          kMaxCid);
    const State fresh{.features = kFeatures};
    const State& used = state ? *state : fresh;
    // A state may come from another host: nothing in it is taken on trust.
    if ((used.features & ~kFeatures) != 0 || (used.features & virtio::feature::kVersion1) == 0)
        return fail_input("vsock {}: the saved state has features {:#x}, this device offers {:#x}", config.id,
                          used.features, kFeatures);
    return std::unique_ptr<VsockDevice>(new VsockDevice(config, std::move(end), engine, used));
}

VsockDevice::VsockDevice(const Config& config, HostEnd end, io::Engine& engine, const State& state)
    : config_(config),
      end_(std::move(end)),
      engine_(engine),
      features_(state.features),
      multiplexer_(engine, end_, config.cid, connections_) {}

VsockDevice::~VsockDevice() {
    reset();
}

void VsockDevice::read_config(std::uint32_t offset, std::span<std::byte> data) {
    // struct virtio_vsock_config (virtio 1.3, 5.10.4)
    const std::uint64_t guest_cid = config_.cid;
    read_config_bytes(guest_cid, offset, data);
}

void VsockDevice::write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*data*/) {}

Result<> VsockDevice::activate(const Activation& activation) {
    if (active_) return fail_host("vsock {} is active already", config_.id);
    Queues queues;
    for (std::size_t i = 0; i < std::min(activation.queues.size(), queues.size()); ++i) {
        const QueueConfig& config = activation.queues[i];
        if (!config.enabled) continue;
        if (config.size > queue_sizes_[i] || i >= activation.kicks.size())
            return fail_input("vsock {}: queue {} has size {}, more than was offered", config_.id, i,
                              config.size);
        const QueuePosition position =
            i < activation.positions.size() ? activation.positions[i] : QueuePosition{};
        Queue rings = HAKO_TRY_WRAP(Queue::create(activation.memory, config, activation.features, position),
                                    "vsock {}, queue {}", config_.id, i);
        const QueueSetup setup{.index = static_cast<std::uint16_t>(i),
                               .engine = engine_,
                               .memory = activation.memory,
                               .hooks = activation.hooks,
                               .broken = broken_,
                               .metrics = metrics_[i]};
        queues[i] = make_queue(setup, std::move(rings), !activation.positions.empty());
    }
    active_ = true;
    queues_ = std::move(queues);
    engine_.run_sync([&] {
        broken_ = false;
        multiplexer_.start(queues_[kReceive].get(), queues_[kTransmit].get(), paused_);
        for (std::size_t i = 0; i < queues_.size(); ++i) {
            if (queues_[i]) queues_[i]->start(activation.kicks[i].fd(), paused_);
        }
    });
    return {};
}

std::unique_ptr<QueueWorker> VsockDevice::make_queue(const QueueSetup& setup, Queue queue, bool restored) {
    if (setup.index == kReceive) return std::make_unique<RxQueue>(setup, std::move(queue), multiplexer_);
    if (setup.index == kTransmit) return std::make_unique<TxQueue>(setup, std::move(queue), multiplexer_);
    return std::make_unique<EventQueue>(setup, std::move(queue), restored);
}

void VsockDevice::reset() {
    if (!active_) return;
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.stop(idle); });
    std::latch idle(1);
    engine_.run_sync([&] { multiplexer_.stop(idle); });
    idle.wait();
    engine_.run_sync([&] {
        engine_.unschedule(multiplexer_);
        // What the last connections had to say may have called them once more.
        for (const auto& queue : queues_) {
            if (queue) engine_.unschedule(*queue);
        }
    });
    queues_ = {};
    active_ = false;
}

void VsockDevice::pause() {
    paused_ = true;
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.drain(idle); });
    engine_.run_sync([&] { multiplexer_.set_paused(true); });
}

void VsockDevice::resume() {
    paused_ = false;
    engine_.run_sync([&] {
        multiplexer_.set_paused(false);
        for (const auto& queue : queues_) {
            if (queue) queue->resume();
        }
    });
}

std::vector<QueuePosition> VsockDevice::queue_positions() const {
    if (!active_) return {};
    return engine_.run_sync([&] {
        std::vector<QueuePosition> positions;
        for (const auto& queue : queues_)
            positions.push_back(queue ? queue->position() : QueuePosition{});
        return positions;
    });
}

Metrics VsockDevice::metrics(std::uint16_t queue) const {
    return queue < metrics_.size() ? metrics_[queue].values() : Metrics{};
}

}  // namespace hako::virtio::vsock
