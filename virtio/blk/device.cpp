#include "virtio/blk/device.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <latch>

#include "virtio/blk/protocol.h"
#include "virtio/blk/request_queue.h"
#include "virtio/config_bytes.h"
#include "virtio/quiesce.h"
#include "vmm/base/units.h"

namespace hako::virtio::blk {
namespace {

constexpr std::uint64_t kMaxCapacity = std::uint64_t{INT64_MAX} / kSectorSize;
constexpr std::uint16_t kMaxQueues = 64;
constexpr std::uint16_t kMinQueueSize = 16;
constexpr std::uint32_t kMaxSegments = 254;
constexpr std::uint32_t kMaxBlock = 64 * KiB;

constexpr std::uint64_t kReadOnlyFeatures =
    virtio::feature::kVersion1 | virtio::feature::kIndirectDesc | virtio::feature::kEventIdx |
    feature::kSegMax | feature::kBlkSize | feature::kTopology | feature::kMultiQueue | feature::kReadOnly;
constexpr std::uint64_t kWritableFeatures = (kReadOnlyFeatures & ~feature::kReadOnly) | feature::kFlush |
                                            feature::kConfigWce | feature::kDiscard | feature::kWriteZeroes;

Result<> check_config(const Config& config) {
    if (config.queues < 1 || config.queues > kMaxQueues)
        return fail_input("disk {}: {} queues: give 1 to {}", config.id, config.queues, kMaxQueues);
    if (!std::has_single_bit(config.queue_size) || config.queue_size < kMinQueueSize ||
        config.queue_size > kMaxQueueSize)
        return fail_input("disk {}: queue size {}: give a power of two from {} to {}", config.id,
                          config.queue_size, kMinQueueSize, kMaxQueueSize);
    const bool printable = std::ranges::all_of(config.serial, [](char c) { return c >= 0x20 && c < 0x7f; });
    if (config.serial.size() > kSerialLength || !printable)
        return fail_input("disk {}: serial must be at most {} printable ASCII characters", config.id,
                          kSerialLength);
    return {};
}

bool is_block(std::uint32_t size) {
    return std::has_single_bit(size) && size >= kSectorSize && size <= kMaxBlock;
}

/// A state may come from another host: nothing in it is taken on trust.
Result<> check_state(const Config& config, const Disk& disk, const State& state) {
    const std::uint64_t known = disk.readonly() ? kReadOnlyFeatures : kWritableFeatures;
    if ((state.features & ~known) != 0 || (state.features & virtio::feature::kVersion1) == 0)
        return fail_input("disk {}: the saved state has features {:#x}, this disk offers {:#x}", config.id,
                          state.features, known);
    if (state.capacity == 0 || state.capacity > kMaxCapacity || !is_block(state.topology.logical_block) ||
        !is_block(state.topology.physical_block) ||
        state.topology.physical_block < state.topology.logical_block)
        return fail_input("disk {}: the saved state has sizes that no disk has", config.id);
    return {};
}

Topology sane(Topology topology) {
    topology.logical_block = std::clamp(std::bit_floor(topology.logical_block), 512U, kMaxBlock);
    topology.physical_block =
        std::clamp(std::bit_floor(topology.physical_block), topology.logical_block, kMaxBlock);
    return topology;
}

std::uint32_t max_segments(const Config& config) {
    return std::min(config.queue_size - 2U, kMaxSegments);
}

}  // namespace

Result<std::unique_ptr<BlockDevice>> BlockDevice::create(const Config& config, Disk disk, io::Engine& engine,
                                                         const std::optional<State>& state, Clock now) {
    HAKO_TRY(check_config(config));
    if (state) {
        HAKO_TRY(check_state(config, disk, *state));
        return std::unique_ptr<BlockDevice>(new BlockDevice(config, std::move(disk), engine, *state, now));
    }
    const State fresh{.features = disk.readonly() ? kReadOnlyFeatures : kWritableFeatures,
                      .capacity = HAKO_TRY(disk.capacity()),
                      .topology = sane(disk.topology())};
    return std::unique_ptr<BlockDevice>(new BlockDevice(config, std::move(disk), engine, fresh, now));
}

BlockDevice::BlockDevice(const Config& config, Disk disk, io::Engine& engine, const State& state, Clock now)
    : config_(config),
      disk_(std::move(disk)),
      engine_(engine),
      features_(state.features),
      topology_(state.topology),
      queue_sizes_(config.queues, config.queue_size),
      backend_{.throttle = {engine, config.limits, config.queues, now}, .now = now},
      metrics_(std::make_unique<QueueMetrics[]>(config.queues)) {
    backend_.has_direct = disk_.direct_fd() >= 0;
    backend_.alignment = disk_.direct_alignment();
    backend_.readonly = disk_.readonly();
    backend_.max_segments = max_segments(config);
    backend_.capacity = state.capacity;
    backend_.writeback = state.writeback;
    const std::string& serial = config_.serial.empty() ? config_.id : config_.serial;
    std::memcpy(backend_.serial.data(), serial.data(), std::min(serial.size(), kSerialLength));
    engine_.run_sync([&] {
        backend_.buffered = engine_.register_file(disk_.buffered_fd());
        if (backend_.has_direct) backend_.direct = engine_.register_file(disk_.direct_fd());
    });
}

BlockDevice::~BlockDevice() {
    reset();
    if (!backend_.gone) static_cast<void>(take_disk());
}

Disk BlockDevice::take_disk() {
    quiesce(engine_, queues_, [](RequestQueue& queue, std::latch& idle) { queue.drain(idle); });
    engine_.run_sync([&] {
        engine_.unregister_file(backend_.buffered);
        engine_.unregister_file(backend_.direct);
        backend_.gone = true;
        backend_.throttle.set_limits({});  // an error has nothing to wait for
        for (const auto& queue : queues_) {
            if (queue && !paused_) queue->resume();
        }
    });
    return std::move(disk_);
}

void BlockDevice::read_config(std::uint32_t offset, std::span<std::byte> data) {
    ConfigSpace space{};
    space.capacity = backend_.capacity.load(std::memory_order_relaxed);
    space.seg_max = backend_.max_segments;
    space.blk_size = topology_.logical_block;
    const std::uint32_t ratio = topology_.physical_block / topology_.logical_block;
    space.physical_block_exp = static_cast<std::uint8_t>(std::countr_zero(ratio));
    space.min_io_size =
        static_cast<std::uint16_t>(std::min(topology_.minimum_io / topology_.logical_block, 0xffffU));
    space.opt_io_size = topology_.optimal_io / topology_.logical_block;
    space.writeback = backend_.writeback.load(std::memory_order_relaxed) ? 1 : 0;
    space.num_queues = config_.queues;
    if ((features_ & feature::kDiscard) != 0) {
        space.max_discard_sectors = kMaxRangeSectors;
        space.max_discard_seg = kMaxRanges;
        space.discard_sector_alignment = topology_.physical_block / static_cast<std::uint32_t>(kSectorSize);
    }
    if ((features_ & feature::kWriteZeroes) != 0) {
        space.max_write_zeroes_sectors = kMaxRangeSectors;
        space.max_write_zeroes_seg = kMaxRanges;
        space.write_zeroes_may_unmap = 1;
    }
    read_config_bytes(space, offset, data);
}

void BlockDevice::write_config(std::uint32_t offset, std::span<const std::byte> data) {
    if (offset != kWritebackOffset || data.size() != 1 || (features_ & feature::kConfigWce) == 0) return;
    backend_.writeback.store(data[0] != std::byte{0}, std::memory_order_relaxed);
}

Result<> BlockDevice::activate(const Activation& activation) {
    if (!queues_.empty()) return fail_host("disk {} is active already", config_.id);
    const std::size_t count = std::min(activation.queues.size(), queue_sizes_.size());
    std::vector<std::unique_ptr<RequestQueue>> queues(count);
    for (std::size_t i = 0; i < count; ++i) {
        const QueueConfig& config = activation.queues[i];
        if (!config.enabled) continue;
        if (config.size > queue_sizes_[i] || i >= activation.kicks.size())
            return fail_input("disk {}: queue {} has size {}, more than was offered", config_.id, i,
                              config.size);
        const QueuePosition position =
            i < activation.positions.size() ? activation.positions[i] : QueuePosition{};
        Queue queue = HAKO_TRY_WRAP(Queue::create(activation.memory, config, activation.features, position),
                                    "disk {}, queue {}", config_.id, i);
        const QueueSetup setup{.index = static_cast<std::uint16_t>(i),
                               .engine = engine_,
                               .memory = activation.memory,
                               .hooks = activation.hooks,
                               .backend = backend_,
                               .metrics = metrics_[i],
                               .flush_negotiated = (activation.features & feature::kFlush) != 0};
        queues[i] = std::make_unique<RequestQueue>(setup, std::move(queue));
    }
    queues_ = std::move(queues);
    hooks_ = &activation.hooks;
    engine_.run_sync([&] {
        backend_.broken = false;
        for (std::size_t i = 0; i < queues_.size(); ++i) {
            if (queues_[i]) queues_[i]->start(activation.kicks[i].fd(), paused_);
        }
    });
    return {};
}

void BlockDevice::reset() {
    quiesce(engine_, queues_, [](RequestQueue& queue, std::latch& idle) { queue.stop(idle); });
    queues_.clear();
    hooks_ = nullptr;
    backend_.writeback = true;
}

void BlockDevice::pause() {
    paused_ = true;
    quiesce(engine_, queues_, [](RequestQueue& queue, std::latch& idle) { queue.drain(idle); });
}

void BlockDevice::resume() {
    paused_ = false;
    engine_.run_sync([&] {
        for (const auto& queue : queues_) {
            if (queue) queue->resume();
        }
    });
}

std::vector<QueuePosition> BlockDevice::queue_positions() const {
    std::vector<QueuePosition> positions;
    engine_.run_sync([&] {
        for (const auto& queue : queues_)
            positions.push_back(queue ? queue->position() : QueuePosition{});
    });
    return positions;
}

State BlockDevice::state() const {
    return {.features = features_,
            .capacity = backend_.capacity.load(std::memory_order_relaxed),
            .topology = topology_,
            .writeback = backend_.writeback.load(std::memory_order_relaxed)};
}

Metrics BlockDevice::metrics(std::uint16_t queue) const {
    return queue < queue_sizes_.size() ? metrics_[queue].values() : Metrics{};
}

std::shared_ptr<DirtyBlocks> BlockDevice::track_writes() {
    const std::uint64_t bytes = backend_.capacity.load(std::memory_order_relaxed) * kSectorSize;
    const auto fresh = std::make_shared<DirtyBlocks>(bytes);
    // A write that is under way is marked when it ends; one that has ended is on the disk.
    engine_.run_sync([&] { backend_.dirty = fresh.get(); });
    dirty_ = fresh;
    return fresh;
}

void BlockDevice::untrack_writes() {
    engine_.run_sync([&] { backend_.dirty = nullptr; });
    dirty_.reset();
}

Result<bool> BlockDevice::refresh_capacity() {
    const std::uint64_t now = HAKO_TRY(disk_.capacity());
    if (backend_.capacity.exchange(now, std::memory_order_relaxed) == now) return false;
    if (TransportHooks* hooks = hooks_.load(); hooks != nullptr) hooks->config_changed();
    return true;
}

void BlockDevice::set_limits(const io::RateLimits& limits) {
    engine_.run_sync([&] { backend_.throttle.set_limits(limits); });
}

}  // namespace hako::virtio::blk
