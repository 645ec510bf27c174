#include "virtio/balloon/device.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <latch>
#include <utility>

#include "virtio/balloon/page_queue.h"
#include "virtio/balloon/report_queue.h"
#include "virtio/balloon/stats_queue.h"
#include "virtio/config_bytes.h"
#include "virtio/quiesce.h"

namespace hako::virtio::balloon {
namespace {

/// Always offered. VIRTIO_BALLOON_F_MUST_TELL_HOST is not: memory is there when the guest touches it.
constexpr std::uint64_t kBasic = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                                 virtio::feature::kEventIdx | feature::kStatistics;
constexpr std::uint64_t kKnown =
    kBasic | feature::kDeflateOnOom | feature::kPagePoison | feature::kPageReporting;

std::uint64_t features_of(const Config& config) {
    std::uint64_t features = kBasic;
    if (config.deflate_on_oom) features |= feature::kDeflateOnOom;
    // A driver that fills its free pages with a pattern reports none unless it can say so.
    if (config.free_page_reporting) features |= feature::kPageReporting | feature::kPagePoison;
    return features;
}

/// What each queue is for, in their order. Linux counts only those that there are, as all devices do that it
/// knows, whereas the queues have fixed numbers in virtio 1.3, 5.5.2.
std::vector<Role> queue_roles(std::uint64_t features) {
    std::vector<Role> roles = {Role::kInflate, Role::kDeflate};
    if ((features & feature::kStatistics) != 0) roles.push_back(Role::kStatistics);
    if ((features & feature::kPageReporting) != 0) roles.push_back(Role::kReporting);
    return roles;
}

}  // namespace

Result<std::unique_ptr<BalloonDevice>> BalloonDevice::create(const Config& config, io::Engine& engine,
                                                             const std::optional<State>& state) {
    const std::uint64_t pages = config.size / kBalloonPage;
    if (pages > UINT32_MAX)
        return fail_input("balloon {}: {} is more than any can have", config.id, format_size(config.size));
    const State fresh{.features = features_of(config), .num_pages = static_cast<std::uint32_t>(pages)};
    const State& used = state ? *state : fresh;
    // A state may come from another host: nothing in it is taken on trust.
    if ((used.features & ~kKnown) != 0 || (used.features & virtio::feature::kVersion1) == 0)
        return fail_input("balloon {}: the saved state has features {:#x}, this device knows {:#x}",
                          config.id, used.features, kKnown);
    if (used.num_pages != pages)
        return fail_input("balloon {}: the guest was asked for {} pages, the configuration says {}",
                          config.id, used.num_pages, pages);
    return std::unique_ptr<BalloonDevice>(new BalloonDevice(config, engine, used));
}

BalloonDevice::BalloonDevice(const Config& config, io::Engine& engine, const State& state)
    : config_(config),
      engine_(engine),
      features_(state.features),
      queue_sizes_(queue_roles(state.features).size(), kQueueSize),
      num_pages_(state.num_pages),
      actual_(state.actual),
      poison_val_(state.poison_val) {}

BalloonDevice::~BalloonDevice() {
    reset();
}

State BalloonDevice::state() const {
    return {.features = features_,
            .num_pages = num_pages_.load(),
            .actual = actual_.load(),
            .poison_val = poison_val_.load()};
}

void BalloonDevice::read_config(std::uint32_t offset, std::span<std::byte> data) {
    const ConfigSpace space{
        .num_pages = num_pages_.load(), .actual = actual_.load(), .poison_val = poison_val_.load()};
    read_config_bytes(space, offset, data);
}

void BalloonDevice::write_config(std::uint32_t offset, std::span<const std::byte> data) {
    ConfigSpace space{.actual = actual_.load(), .poison_val = poison_val_.load()};
    const auto bytes = std::as_writable_bytes(std::span(&space, 1));
    if (offset >= bytes.size()) return;
    const auto rest = bytes.subspan(offset);
    std::ranges::copy(data.first(std::min(rest.size(), data.size())), rest.begin());
    // The rest is the device's.
    actual_ = space.actual;
    poison_val_ = space.poison_val;
}

Result<> BalloonDevice::activate(const Activation& activation) {
    if (active_) return fail_host("balloon {} is active already", config_.id);
    const std::vector<Role> roles = queue_roles(activation.features);
    std::vector<std::unique_ptr<QueueWorker>> queues(queue_sizes_.size());
    StatsQueue* stats_queue = nullptr;
    for (std::size_t i = 0; i < std::min(activation.queues.size(), roles.size()); ++i) {
        const QueueConfig& config = activation.queues[i];
        if (!config.enabled) continue;
        if (config.size > kQueueSize || i >= activation.kicks.size() || i >= queues.size())
            return fail_input("balloon {}: queue {} has size {}, more than was offered", config_.id, i,
                              config.size);
        const QueuePosition position =
            i < activation.positions.size() ? activation.positions[i] : QueuePosition{};
        Queue rings = HAKO_TRY_WRAP(Queue::create(activation.memory, config, activation.features, position),
                                    "balloon {}, queue {}", config_.id, i);
        const QueueSetup setup{.index = static_cast<std::uint16_t>(i),
                               .engine = engine_,
                               .memory = activation.memory,
                               .hooks = activation.hooks,
                               .broken = broken_,
                               .metrics = metrics_[static_cast<std::size_t>(roles[i])]};
        queues[i] = make_queue(roles[i], setup, std::move(rings));
        if (roles[i] == Role::kStatistics) stats_queue = static_cast<StatsQueue*>(queues[i].get());
    }
    active_ = true;
    queues_ = std::move(queues);
    hooks_ = &activation.hooks;
    engine_.run_sync([&] {
        broken_ = false;
        for (std::size_t i = 0; i < queues_.size(); ++i) {
            if (queues_[i]) queues_[i]->start(activation.kicks[i].fd(), paused_);
        }
    });
    const std::lock_guard lock(asking_);
    stats_queue_ = stats_queue;
    return {};
}

std::unique_ptr<QueueWorker> BalloonDevice::make_queue(Role role, const QueueSetup& setup, Queue queue) {
    switch (role) {
        case Role::kStatistics:
            return std::make_unique<StatsQueue>(setup, std::move(queue), statistics_);
        case Role::kReporting:
            return std::make_unique<ReportQueue>(setup, std::move(queue), poison_val_);
        case Role::kInflate:
        case Role::kDeflate:
            break;
    }
    return std::make_unique<PageQueue>(setup, std::move(queue), role == Role::kInflate);
}

void BalloonDevice::reset() {
    {
        const std::lock_guard lock(asking_);
        stats_queue_ = nullptr;
    }
    hooks_ = nullptr;
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.stop(idle); });
    queues_.clear();
    active_ = false;
    // Each driver begins with an empty balloon.
    actual_ = 0;
    poison_val_ = 0;
    statistics_.clear();
}

void BalloonDevice::pause() {
    paused_ = true;
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.drain(idle); });
}

void BalloonDevice::resume() {
    paused_ = false;
    engine_.run_sync([&] {
        for (const auto& queue : queues_) {
            if (queue) queue->resume();
        }
    });
}

std::vector<QueuePosition> BalloonDevice::queue_positions() const {
    if (!active_) return {};
    return engine_.run_sync([&] {
        std::vector<QueuePosition> positions;
        for (const auto& queue : queues_)
            positions.push_back(queue ? queue->position() : QueuePosition{});
        return positions;
    });
}

void BalloonDevice::resize(std::uint64_t bytes) {
    const auto pages = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes / kBalloonPage, UINT32_MAX));
    if (num_pages_.exchange(pages) == pages) return;
    if (TransportHooks* const hooks = hooks_.load(); hooks != nullptr) hooks->config_changed();
}

std::vector<std::pair<std::string_view, std::uint64_t>> BalloonDevice::statistics() {
    auto values = statistics_.values();
    const std::lock_guard lock(asking_);
    if (stats_queue_ != nullptr) engine_.run_sync([&] { stats_queue_->ask(); });
    return values;
}

}  // namespace hako::virtio::balloon
