#include "virtio/console/device.h"

#include <algorithm>
#include <bit>
#include <latch>
#include <utility>

#include "virtio/config_bytes.h"
#include "virtio/console/protocol.h"
#include "virtio/console/rx_queue.h"
#include "virtio/console/tx_queue.h"
#include "virtio/quiesce.h"

namespace hako::virtio::console {
namespace {

constexpr std::uint16_t kMinQueueSize = 2;
/// Linux fills the receiving one with buffers of a page.
constexpr std::uint16_t kControlQueueSize = 32;

std::uint64_t offered(const std::vector<hako::console::Backend*>& backends) {
    std::uint64_t features = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                             virtio::feature::kEventIdx | feature::kMultiport;
    if (backends[0] == nullptr) return features;
    features |= feature::kEmergencyWrite;
    const auto mode = backends[0]->config().mode;
    if (mode == hako::console::Mode::kTty || mode == hako::console::Mode::kPty) features |= feature::kSize;
    return features;
}

Result<> check_config(const Config& config, std::size_t backends) {
    if (config.ports.size() >= kMaxPorts)
        return fail_input("console {}: {} named ports: give at most {}", config.id, config.ports.size(),
                          kMaxPorts - 1);
    if (!std::has_single_bit(config.queue_size) || config.queue_size < kMinQueueSize ||
        config.queue_size > kMaxQueueSize)
        return fail_input("console {}: queue size {}: give a power of two from {} to {}", config.id,
                          config.queue_size, kMinQueueSize, kMaxQueueSize);
    for (const PortConfig& port : config.ports) {
        if (port.name.empty() || port.name.size() > kMaxPortName)
            return fail_input("console {}: the name of a port has 1 to {} characters", config.id,
                              kMaxPortName);
    }
    if (backends != config.ports.size() + 1)
        return fail_host("console {}: {} host ends for {} ports", config.id, backends,
                         config.ports.size() + 1);
    return {};
}

/// A state may come from another host: nothing in it is taken on trust.
Result<> check_state(const Config& config, const State& state, std::uint64_t features) {
    const std::uint64_t can = features | feature::kSize | feature::kEmergencyWrite;
    if ((state.features & ~can) != 0 || (state.features & virtio::feature::kVersion1) == 0)
        return fail_input("console {}: the saved state has features {:#x}, this device offers {:#x}",
                          config.id, state.features, can);
    if (state.ports.size() != config.ports.size() + 1)
        return fail_input("console {}: the saved state has {} ports, this device {}", config.id,
                          state.ports.size(), config.ports.size() + 1);
    return {};
}

}  // namespace

Result<std::unique_ptr<ConsoleDevice>> ConsoleDevice::create(const Config& config,
                                                             std::vector<hako::console::Backend*> backends,
                                                             io::Engine& engine,
                                                             const std::optional<State>& state) {
    HAKO_TRY(check_config(config, backends.size()));
    const State fresh{.features = offered(backends), .ports = std::vector<PortState>(backends.size())};
    if (state) HAKO_TRY(check_state(config, *state, fresh.features));
    return std::unique_ptr<ConsoleDevice>(new ConsoleDevice(config, backends, engine, state.value_or(fresh)));
}

ConsoleDevice::ConsoleDevice(const Config& config, const std::vector<hako::console::Backend*>& backends,
                             io::Engine& engine, const State& state)
    : config_(config),
      engine_(engine),
      features_(state.features),
      queue_sizes_(2 * backends.size() + 2, config.queue_size) {
    queue_sizes_[kControlReceive] = queue_sizes_[kControlTransmit] = kControlQueueSize;
    metrics_ = std::make_unique<QueueMetrics[]>(queue_sizes_.size());
    for (std::size_t i = 0; i < backends.size(); ++i) {
        auto port = std::make_unique<GuestPort>(static_cast<std::uint16_t>(i),
                                                i == 0 ? std::string() : config.ports[i - 1].name,
                                                backends[i], static_cast<ControlSender&>(*this), engine);
        port->state = state.ports[i];
        port->state.pending &= message::kAll;
        ports_.push_back(std::move(port));
    }
    for (const auto& port : ports_) {
        if (port->backend() != nullptr) port->backend()->start(*port);
    }
    if (backends[0] != nullptr) engine_.run_sync([&] { tell(0, message::kResize); });
}

ConsoleDevice::~ConsoleDevice() {
    reset();
    for (const auto& port : ports_) {
        if (port->backend() != nullptr) port->backend()->stop();
    }
}

void ConsoleDevice::read_config(std::uint32_t offset, std::span<std::byte> data) {
    const std::uint32_t size = size_.load(std::memory_order_relaxed);
    const ConfigSpace space{.columns = static_cast<std::uint16_t>(size),
                            .rows = static_cast<std::uint16_t>(size >> 16),
                            .max_ports = static_cast<std::uint32_t>(ports_.size()),
                            .emergency_write = 0};
    read_config_bytes(space, offset, data);
}

void ConsoleDevice::write_config(std::uint32_t offset, std::span<const std::byte> data) {
    // One character, also before the driver has set the device up (5.3.5.1). One that finds no room is lost.
    hako::console::Backend* const backend = ports_[0]->backend();
    if (offset != offsetof(ConfigSpace, emergency_write) || data.empty() || backend == nullptr) return;
    const auto character = std::to_integer<std::uint8_t>(data[0]);
    engine_.run_sync([&] { (void)backend->write(std::span(&character, 1)); });
}

Result<> ConsoleDevice::activate(const Activation& activation) {
    if (!queues_.empty()) return fail_host("console {} is active already", config_.id);
    const std::size_t count = std::min(activation.queues.size(), queue_sizes_.size());
    // Without MULTIPORT there is the console alone (5.3.2).
    const bool multiport = (activation.features & feature::kMultiport) != 0;
    Queues queues(queue_sizes_.size());
    for (std::size_t i = 0; i < (multiport ? count : std::min<std::size_t>(count, 2)); ++i) {
        const QueueConfig& config = activation.queues[i];
        if (!config.enabled) continue;
        if (config.size > queue_sizes_[i] || i >= activation.kicks.size())
            return fail_input("console {}: queue {} has size {}, more than was offered", config_.id, i,
                              config.size);
        const QueuePosition position =
            i < activation.positions.size() ? activation.positions[i] : QueuePosition{};
        Queue rings = HAKO_TRY_WRAP(Queue::create(activation.memory, config, activation.features, position),
                                    "console {}, queue {}", config_.id, i);
        const QueueSetup setup{.index = static_cast<std::uint16_t>(i),
                               .engine = engine_,
                               .memory = activation.memory,
                               .hooks = activation.hooks,
                               .broken = broken_,
                               .metrics = metrics_[i]};
        queues[i] = make_queue(setup, std::move(rings));
    }
    queues_ = std::move(queues);
    engine_.run_sync([&] { connect_ports(activation); });
    return {};
}

std::unique_ptr<QueueWorker> ConsoleDevice::make_queue(const QueueSetup& setup, Queue queue) {
    if (setup.index == kControlReceive)
        return std::make_unique<ControlRxQueue>(setup, std::move(queue), ports_);
    if (setup.index == kControlTransmit)
        return std::make_unique<ControlTxQueue>(setup, std::move(queue), ports_,
                                                static_cast<ControlSender&>(*this));
    GuestPort& port = *ports_[setup.index < 2 ? 0 : (setup.index - 2U) / 2];
    if (setup.index % 2 == 0) return std::make_unique<RxQueue>(setup, std::move(queue), port);
    return std::make_unique<TxQueue>(setup, std::move(queue), port);
}

/// On the io thread.
void ConsoleDevice::connect_ports(const Activation& activation) {
    broken_ = false;
    hooks_ = &activation.hooks;
    multiport_ = (activation.features & feature::kMultiport) != 0;
    const bool restored = !activation.positions.empty();
    for (const auto& port : ports_) {
        if (!restored) port->state = {};
        // There is nobody to open it.
        if (!multiport_ && port->is_console()) port->state.guest_open = true;
        // What is so now may not be what the driver knows from where it was saved.
        std::uint8_t messages = std::exchange(port->state.pending, std::uint8_t{0});
        if (restored && port->state.ready) messages |= message::kOpen | message::kResize;
        tell(port->index(), messages);
        port->set_queues(static_cast<RxQueue*>(queues_[receive_queue(port->index())].get()),
                         queues_[transmit_queue(port->index())].get());
        port->input_wanted();
    }
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        if (queues_[i]) queues_[i]->start(activation.kicks[i].fd(), paused_);
    }
}

void ConsoleDevice::reset() {
    if (queues_.empty()) return;
    engine_.run_sync([&] {
        for (const auto& port : ports_)
            port->set_queues(nullptr, nullptr);
        hooks_ = nullptr;
        multiport_ = false;
    });
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.stop(idle); });
    // Not earlier: until it has stopped a queue would write a chain that is taken in part from its start
    // again.
    engine_.run_sync([&] {
        for (const auto& port : ports_)
            port->state = {};
    });
    queues_.clear();
}

void ConsoleDevice::pause() {
    engine_.run_sync([&] { paused_ = true; });
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.drain(idle); });
}

void ConsoleDevice::resume() {
    engine_.run_sync([&] {
        paused_ = false;
        for (const auto& queue : queues_) {
            if (queue) queue->resume();
        }
        // Input that was offered meanwhile was not taken.
        for (const auto& port : ports_)
            port->input_wanted();
    });
}

std::vector<QueuePosition> ConsoleDevice::queue_positions() const {
    std::vector<QueuePosition> positions;
    engine_.run_sync([&] {
        for (const auto& queue : queues_)
            positions.push_back(queue ? queue->position() : QueuePosition{});
    });
    return positions;
}

State ConsoleDevice::state() const {
    return engine_.run_sync([&] {
        State state{.features = features_, .ports = {}};
        for (const auto& port : ports_)
            state.ports.push_back(port->state);
        return state;
    });
}

Metrics ConsoleDevice::metrics(std::uint16_t queue) const {
    return queue < queue_sizes_.size() ? metrics_[queue].values() : Metrics{};
}

void ConsoleDevice::tell(std::uint16_t port, std::uint8_t messages) {
    GuestPort& told = *ports_[port];
    if (port == 0 && (messages & message::kResize) != 0 && told.backend() != nullptr) {
        const hako::console::Size size = told.backend()->size();
        const std::uint32_t bits = std::uint32_t{size.rows} << 16 | size.columns;
        const bool changed = size_.exchange(bits, std::memory_order_relaxed) != bits;
        // With MULTIPORT a message tells (5.3.4).
        if (changed && hooks_ != nullptr && !multiport_) hooks_->config_changed();
    }
    if (!multiport_) return;
    if (told.backend() == nullptr || !told.backend()->size().known())
        messages &= static_cast<std::uint8_t>(~message::kResize);
    // Before a port is ready its driver knows nothing of it, and hears all then.
    if (!told.state.ready) messages &= message::kAdd;
    told.state.pending |= messages;
    if (QueueWorker* const queue = queues_[kControlReceive].get(); queue != nullptr && messages != 0)
        engine_.schedule(*queue);
}

}  // namespace hako::virtio::console
