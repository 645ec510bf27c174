#include "virtio/mem/device.h"

#include <algorithm>
#include <cstddef>
#include <latch>
#include <span>
#include <utility>

#include "virtio/config_bytes.h"
#include "virtio/only_queue.h"
#include "virtio/quiesce.h"

namespace hako::virtio::mem {
namespace {

/// VIRTIO_MEM_F_ACPI_PXM is not: there are no NUMA nodes.
constexpr std::uint64_t kFeatures = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                                    virtio::feature::kEventIdx | feature::kUnpluggedInaccessible;

/// A state may come from another host: nothing in it is taken on trust.
Result<> check_state(const Config& config, const State& state) {
    if ((state.features & ~kFeatures) != 0 || (state.features & virtio::feature::kVersion1) == 0)
        return fail_input("memory device {}: the saved state has features {:#x}, this device offers {:#x}",
                          config.id, state.features, kFeatures);
    if (state.address != config.address.value || state.region_size != config.region_size ||
        state.block_size != config.block_size)
        return fail_input(
            "memory device {}: {} from {:#x} on in blocks of {} were saved, it has {} from "
            "{:#x} on in blocks of {}",
            config.id, format_size(state.region_size), state.address, format_size(state.block_size),
            format_size(config.region_size), config.address.value, format_size(config.block_size));
    if (state.requested != config.requested)
        return fail_input("memory device {}: the guest was asked for {}, the configuration says {}",
                          config.id, format_size(state.requested), format_size(config.requested));
    return {};
}

}  // namespace

Result<std::unique_ptr<MemDevice>> MemDevice::create(const Config& config, GuestMemory& memory,
                                                     io::Engine& engine, const std::optional<State>& state) {
    PluggedBlocks* const blocks = memory.blocks();
    if (blocks == nullptr || blocks->block_size() != config.block_size ||
        blocks->count() != config.region_size / config.block_size ||
        memory.regions().back().base != config.address || config.requested > config.region_size)
        return fail_host("memory device {}: guest memory has no such blocks", config.id);
    if (state) {
        HAKO_TRY(check_state(config, *state));
        if (!blocks->assign(state->plugged))
            return fail_input("memory device {}: more blocks were saved as plugged than there are",
                              config.id);
    }
    return std::unique_ptr<MemDevice>(
        new MemDevice(config, memory, engine, state ? state->features : kFeatures, state.has_value()));
}

MemDevice::MemDevice(const Config& config, GuestMemory& memory, io::Engine& engine, std::uint64_t features,
                     bool restored)
    : config_(config),
      engine_(engine),
      blocks_(*memory.blocks()),
      features_(features),
      requested_(config.requested),
      sweeper_(engine, memory, config.address, metrics_),
      // What is mapped from a file takes memory when it is touched only.
      look_at_all_(restored && memory.fd() >= 0) {}

MemDevice::~MemDevice() {
    reset();
    stop_sweeping();
}

State MemDevice::state() const {
    return {.features = features_,
            .address = config_.address.value,
            .region_size = config_.region_size,
            .block_size = config_.block_size,
            .requested = requested_.load(),
            .plugged = blocks_.all()};
}

void MemDevice::read_config(std::uint32_t offset, std::span<std::byte> data) {
    const ConfigSpace space{.block_size = config_.block_size,
                            .addr = config_.address.value,
                            .region_size = config_.region_size,
                            .usable_region_size = config_.region_size,
                            .plugged_size = blocks_.plugged(),
                            .requested_size = requested_.load()};
    read_config_bytes(space, offset, data);
}

void MemDevice::write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*data*/) {}

Result<> MemDevice::activate(const Activation& activation) {
    if (active_) return fail_host("memory device {} is active already", config_.id);
    std::unique_ptr<RequestQueue> queue;
    if (auto rings = HAKO_TRY(only_queue(activation, kQueueSize, "memory device " + config_.id))) {
        queue = std::make_unique<RequestQueue>(PromptSetup<DeviceMetrics>{.index = 0,
                                                                          .engine = engine_,
                                                                          .memory = activation.memory,
                                                                          .hooks = activation.hooks,
                                                                          .broken = broken_,
                                                                          .metrics = metrics_},
                                               *std::move(rings),
                                               Region{.address = config_.address,
                                                      .blocks = blocks_,
                                                      .requested = requested_,
                                                      .sweeper = sweeper_,
                                                      .populate = config_.populate});
    }
    active_ = true;
    queue_ = std::move(queue);
    hooks_ = &activation.hooks;
    engine_.run_sync([&] {
        broken_ = false;
        if (queue_) queue_->start(activation.kicks[0].fd(), paused_);
        if (!paused_) sweep();
    });
    return {};
}

void MemDevice::reset() {
    hooks_ = nullptr;
    quiesce(engine_, std::span(&queue_, 1), [](RequestQueue& queue, std::latch& idle) { queue.stop(idle); });
    queue_.reset();
    active_ = false;
}

void MemDevice::sweep() {
    if (std::exchange(look_at_all_, false)) sweeper_.add_all(false);
    sweeper_.resume();
}

void MemDevice::stop_sweeping() {
    const std::array sweepers = {&sweeper_};
    quiesce(engine_, sweepers, [](Sweeper& sweeper, std::latch& idle) { sweeper.stop(idle); });
}

void MemDevice::pause() {
    paused_ = true;
    quiesce(engine_, std::span(&queue_, 1), [](RequestQueue& queue, std::latch& idle) { queue.drain(idle); });
    stop_sweeping();
}

void MemDevice::resume() {
    paused_ = false;
    engine_.run_sync([&] {
        sweep();
        if (queue_) queue_->resume();
    });
}

std::vector<QueuePosition> MemDevice::queue_positions() const {
    if (!active_) return {};
    return engine_.run_sync(
        [&] { return std::vector<QueuePosition>{queue_ ? queue_->position() : QueuePosition{}}; });
}

void MemDevice::resize(std::uint64_t bytes) {
    if (requested_.exchange(bytes) == bytes) return;
    if (TransportHooks* const hooks = hooks_.load(); hooks != nullptr) hooks->config_changed();
}

}  // namespace hako::virtio::mem
