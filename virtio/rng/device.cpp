#include "virtio/rng/device.h"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <latch>
#include <span>

#include "virtio/only_queue.h"
#include "virtio/quiesce.h"
#include "virtio/rng/request_queue.h"

namespace hako::virtio::rng {
namespace {

constexpr std::uint16_t kMinQueueSize = 2;

/// None of its own (virtio 1.3, 5.4.3).
constexpr std::uint64_t kFeatures = feature::kVersion1 | feature::kIndirectDesc | feature::kEventIdx;

}  // namespace

Result<std::unique_ptr<EntropyDevice>> EntropyDevice::create(const Config& config, io::Engine& engine,
                                                             const std::optional<State>& state) {
    if (!std::has_single_bit(config.queue_size) || config.queue_size < kMinQueueSize ||
        config.queue_size > kMaxQueueSize)
        return fail_input("entropy device {}: queue size {}: give a power of two from {} to {}", config.id,
                          config.queue_size, kMinQueueSize, kMaxQueueSize);
    const State fresh{.features = kFeatures};
    const State& used = state ? *state : fresh;
    // A state may come from another host: nothing in it is taken on trust.
    if ((used.features & ~kFeatures) != 0 || (used.features & feature::kVersion1) == 0)
        return fail_input("entropy device {}: the saved state has features {:#x}, this device offers {:#x}",
                          config.id, used.features, kFeatures);
    return std::unique_ptr<EntropyDevice>(new EntropyDevice(config, engine, used));
}

EntropyDevice::EntropyDevice(const Config& config, io::Engine& engine, const State& state)
    : config_(config),
      engine_(engine),
      features_(state.features),
      queue_sizes_{config.queue_size},
      backend_{.limiter = {config.limits, std::chrono::steady_clock::now()}, .random = ::getrandom} {}

EntropyDevice::~EntropyDevice() {
    reset();
}

void EntropyDevice::read_config(std::uint32_t /*offset*/, std::span<std::byte> data) {
    std::ranges::fill(data, std::byte{0});  // it has none (virtio 1.3, 5.4.4)
}

void EntropyDevice::write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*data*/) {}

Result<> EntropyDevice::activate(const Activation& activation) {
    if (active_) return fail_host("entropy device {} is active already", config_.id);
    std::unique_ptr<RequestQueue> queue;
    if (auto rings = HAKO_TRY(only_queue(activation, queue_sizes_[0], "entropy device " + config_.id))) {
        const QueueSetup setup{.index = 0,
                               .engine = engine_,
                               .memory = activation.memory,
                               .hooks = activation.hooks,
                               .backend = backend_,
                               .metrics = metrics_};
        queue = std::make_unique<RequestQueue>(setup, *std::move(rings));
    }
    active_ = true;
    queue_ = std::move(queue);
    engine_.run_sync([&] {
        backend_.broken = false;
        if (queue_) queue_->start(activation.kicks[0].fd(), paused_);
    });
    return {};
}

void EntropyDevice::reset() {
    quiesce(engine_, std::span(&queue_, 1), [](RequestQueue& queue, std::latch& idle) { queue.stop(idle); });
    queue_.reset();
    active_ = false;
}

void EntropyDevice::pause() {
    paused_ = true;
    quiesce(engine_, std::span(&queue_, 1), [](RequestQueue& queue, std::latch& idle) { queue.drain(idle); });
}

void EntropyDevice::resume() {
    paused_ = false;
    engine_.run_sync([&] {
        if (queue_) queue_->resume();
    });
}

std::vector<QueuePosition> EntropyDevice::queue_positions() const {
    if (!active_) return {};
    return engine_.run_sync(
        [&] { return std::vector<QueuePosition>{queue_ ? queue_->position() : QueuePosition{}}; });
}

void EntropyDevice::set_limits(const io::RateLimits& limits) {
    engine_.run_sync([&] {
        backend_.limiter.set_limits(limits, backend_.now());
        if (queue_) queue_->limits_changed();
    });
}

}  // namespace hako::virtio::rng
