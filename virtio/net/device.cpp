#include "virtio/net/device.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <latch>

#include "virtio/config_bytes.h"
#include "virtio/net/protocol.h"
#include "virtio/net/rarp.h"
#include "virtio/net/rx_queue.h"
#include "virtio/net/stream_rx_queue.h"
#include "virtio/net/stream_tx_queue.h"
#include "virtio/net/tx_queue.h"
#include "virtio/quiesce.h"

namespace hako::virtio::net {
namespace {

constexpr std::uint16_t kMinQueueSize = 16;
constexpr std::uint16_t kControlQueueSize = 64;
constexpr std::uint16_t kMinMtu = 68;  // virtio 1.3, 5.1.4.1

constexpr std::uint64_t kFeatures = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                                    virtio::feature::kEventIdx | feature::kCsum | feature::kGuestCsum |
                                    feature::kCtrlGuestOffloads | feature::kMac | feature::kGuestTso4 |
                                    feature::kGuestTso6 | feature::kHostTso4 | feature::kHostTso6 |
                                    feature::kMergeableBuffers | feature::kStatus | feature::kControlQueue |
                                    feature::kControlRx | feature::kGuestAnnounce | feature::kControlMac;

/// What a tap's other end does for the guest. A stream carries whole frames and no header to say otherwise.
constexpr std::uint64_t kOffloads = feature::kCsum | feature::kHostTso4 | feature::kHostTso6 |
                                    feature::kGuestCsum | feature::kGuestTso4 | feature::kGuestTso6 |
                                    feature::kCtrlGuestOffloads;

std::uint64_t offered(const Config& config, const HostEnd& end) {
    return (end.stream ? kFeatures & ~kOffloads : kFeatures) | (config.mtu != 0 ? feature::kMtu : 0) |
           (config.queue_pairs > 1 ? feature::kMultiQueue : 0);
}

Result<> check_config(const Config& config, const HostEnd& end) {
    const std::size_t taps = end.stream ? 1 : end.taps.size();
    if (config.queue_pairs < 1 || config.queue_pairs > kMaxQueuePairs)
        return fail_input("network interface {}: {} queue pairs: give 1 to {}", config.id, config.queue_pairs,
                          kMaxQueuePairs);
    if (end.stream && config.queue_pairs != 1)
        return fail_input("network interface {}: {} queue pairs: a stream socket carries one", config.id,
                          config.queue_pairs);
    if (!end.vhosts.empty() && end.vhosts.size() != taps)
        return fail_host("network interface {}: {} vhosts for {} taps", config.id, end.vhosts.size(), taps);
    if (taps != config.queue_pairs)
        return fail_input("network interface {}: {} open taps for {} queue pairs: give one for each",
                          config.id, taps, config.queue_pairs);
    if (!std::has_single_bit(config.queue_size) || config.queue_size < kMinQueueSize ||
        config.queue_size > kMaxQueueSize)
        return fail_input("network interface {}: queue size {}: give a power of two from {} to {}", config.id,
                          config.queue_size, kMinQueueSize, kMaxQueueSize);
    if (config.mtu != 0 && config.mtu < kMinMtu)
        return fail_input("network interface {}: MTU {}: give at least {}", config.id, config.mtu, kMinMtu);
    if (config.mac && !usable_mac(*config.mac))
        return fail_input("network interface {}: {} is no address of one interface: give a unicast address",
                          config.id, mac_text(*config.mac));
    return {};
}

/// The kernel serves a vhost's queues: hako sees no packet of theirs.
Result<> check_limits(const std::string& id, const Limits& limits, const HostEnd& end) {
    if (end.vhosts.empty() || limits == Limits{}) return {};
    return fail_input(
        "network interface {}: packets that vhost-net carries cannot be limited: limit the tap (tc), or do "
        "without vhost",
        id);
}

/// A state may come from another host: nothing in it is taken on trust.
Result<> check_state(const Config& config, const HostEnd& end, const State& state) {
    const std::uint64_t known = offered(config, end) | feature::kMtu;
    if ((state.features & ~known) != 0 || (state.features & virtio::feature::kVersion1) == 0)
        return fail_input("network interface {}: the saved state has features {:#x}, this one offers {:#x}",
                          config.id, state.features, known);
    if (state.queue_pairs < 1 || state.queue_pairs > config.queue_pairs)
        return fail_input("network interface {}: the saved state uses {} queue pairs, this one has {}",
                          config.id, state.queue_pairs, config.queue_pairs);
    if (!usable_mac(state.mac) || !usable_mac(state.used_mac) ||
        (state.guest_offloads & ~(state.features & kGuestOffloads)) != 0 ||
        ((state.features & feature::kMtu) != 0) != (state.mtu != 0))
        return fail_input("network interface {}: the saved state is that of no network interface", config.id);
    return {};
}

}  // namespace

Result<std::unique_ptr<NetDevice>> NetDevice::create(const Config& config, HostEnd end, io::Engine& engine,
                                                     const std::optional<State>& state, Clock now) {
    HAKO_TRY(check_config(config, end));
    HAKO_TRY(check_limits(config.id, config.limits, end));
    if (state) HAKO_TRY(check_state(config, end, *state));
    const std::string& host = config.socket.empty() ? config.tap : config.socket;
    const Mac mac = config.mac.value_or(default_mac(config.id, host));
    const State fresh{.features = offered(config, end), .mac = mac, .mtu = config.mtu, .used_mac = mac};
    return std::unique_ptr<NetDevice>(
        new NetDevice(config, std::move(end), engine, state.value_or(fresh), now));
}

NetDevice::NetDevice(const Config& config, HostEnd end, io::Engine& engine, const State& state, Clock now)
    : config_(config),
      end_(std::move(end)),
      engine_(engine),
      features_(state.features),
      mac_(state.mac),
      mtu_(state.mtu),
      queue_sizes_(std::size_t{2} * config.queue_pairs, config.queue_size),
      backend_{.name = end_.name(),
               .rx = {engine, config.limits.rx, config.queue_pairs, now},
               .tx = {engine, config.limits.tx, config.queue_pairs, now}} {
    queue_sizes_.push_back(kControlQueueSize);
    metrics_ = std::make_unique<QueueMetrics[]>(queue_sizes_.size());
    backend_.link_up = state.link_up;
    backend_.announce = state.announce;
    backend_.mac = mac_bits(state.used_mac);
    backend_.promiscuous = state.promiscuous;
    backend_.all_multicast = state.all_multicast;
    backend_.queue_pairs = state.queue_pairs;
    backend_.guest_offloads = state.guest_offloads;
    engine_.run_sync([&] {
        for (std::size_t i = 0; i < end_.taps.size() && end_.vhosts.empty(); ++i)
            backend_.pairs[i].tap = {.fd = end_.taps[i].fd()};
        if (!end_.stream) return;
        link_ = std::make_unique<StreamLink>(engine_, backend_, *end_.stream);
        link_->start();
    });
}

NetDevice::~NetDevice() {
    reset();
    stop_host_end();
}

HostEnd NetDevice::take_host_end() {
    stop_host_end();
    return std::move(end_);
}

void NetDevice::stop_host_end() {
    if (!link_) return;
    std::latch idle(1);
    engine_.run_sync([&] { link_->stop(idle); });
    idle.wait();
    engine_.run_sync([&] { engine_.unschedule(*link_); });
    link_.reset();
}

void NetDevice::read_config(std::uint32_t offset, std::span<std::byte> data) {
    ConfigSpace space{};
    space.mac = mac_of_bits(backend_.mac.load(std::memory_order_relaxed));
    if (backend_.link_up.load(std::memory_order_relaxed) && backend_.carrier.load(std::memory_order_relaxed))
        space.status |= kStatusLinkUp;
    if (backend_.announce.load(std::memory_order_relaxed)) space.status |= kStatusAnnounce;
    space.max_virtqueue_pairs = config_.queue_pairs;
    space.mtu = mtu_;
    read_config_bytes(space, offset, data);
}

void NetDevice::write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*data*/) {
    // Nothing there is the driver's to write (virtio 1.3, 5.1.4).
}

// Without MQ the control queue is the third, whatever there is beyond it (virtio 1.3, 5.1.2).
std::size_t NetDevice::control_index(std::uint64_t negotiated) const {
    return (negotiated & feature::kMultiQueue) != 0 ? std::size_t{2} * config_.queue_pairs : 2;
}

Result<> NetDevice::activate(const Activation& activation) {
    if (!queues_.empty()) return fail_host("network interface {} is active already", config_.id);
    const std::size_t count = std::min(activation.queues.size(), queue_sizes_.size());
    const std::size_t control = control_index(activation.features);
    std::vector<std::unique_ptr<QueueWorker>> queues(queue_sizes_.size());
    std::vector<RxQueue*> receivers(config_.queue_pairs, nullptr);
    for (std::size_t i = 0; i < count; ++i) {
        const QueueConfig& config = activation.queues[i];
        if (!config.enabled || i > control) continue;
        if (config.size > queue_sizes_[i] || i >= activation.kicks.size())
            return fail_input("network interface {}: queue {} has size {}, more than was offered", config_.id,
                              i, config.size);
        const QueuePosition position =
            i < activation.positions.size() ? activation.positions[i] : QueuePosition{};
        Queue queue = HAKO_TRY_WRAP(Queue::create(activation.memory, config, activation.features, position),
                                    "network interface {}, queue {}", config_.id, i);
        const QueueSetup setup{.index = static_cast<std::uint16_t>(i),
                               .engine = engine_,
                               .memory = activation.memory,
                               .hooks = activation.hooks,
                               .backend = backend_,
                               .metrics = metrics_[i],
                               .features = activation.features};
        if (i == control) {
            if ((activation.features & feature::kControlQueue) != 0)
                queues[i] = std::make_unique<ControlQueue>(
                    setup, std::move(queue), static_cast<ControlActions&>(*this), config_.queue_pairs);
        } else if (end_.vhosts.empty()) {
            queues[i] = make_queue(setup, std::move(queue), receivers[i / 2]);
        }
    }
    std::unique_ptr<VhostPairs> vhost;
    if (!end_.vhosts.empty()) {
        vhost = std::make_unique<VhostPairs>(engine_, backend_, end_.taps, end_.vhosts, activation,
                                             HAKO_TRY(EventFd::create()));
        HAKO_TRY_WRAP(vhost->set_up(activation.queues.first(std::min(count, control)), activation.kicks,
                                    activation.positions),
                      "network interface {}", config_.id);
    }
    // A driver that starts anew has one pair and all offloads it negotiated; a restored one has what it
    // chose.
    const bool restored = !activation.positions.empty();
    const std::uint16_t pairs = restored ? backend_.queue_pairs.load() : std::uint16_t{1};
    const std::uint64_t offloads =
        restored ? backend_.guest_offloads.load() : initial_guest_offloads(activation.features);
    queues_ = std::move(queues);
    receivers_ = std::move(receivers);
    if (!restored) forget_driver();
    can_announce_ = (activation.features & feature::kGuestAnnounce) != 0;
    hooks_ = &activation.hooks;
    const Result<> ready = engine_.run_sync([&]() -> Result<> {
        backend_.broken = false;
        vhost_ = std::move(vhost);
        HAKO_TRY(try_guest_offloads(offloads));
        HAKO_TRY(try_queue_pairs(pairs));
        return {};
    });
    if (!ready) {
        queues_.clear();  // none was started
        engine_.run_sync([&] { vhost_.reset(); });
        receivers_.clear();
        hooks_ = nullptr;
        can_announce_ = false;
        return ready;
    }
    engine_.run_sync([&] {
        for (std::size_t i = 0; i < queues_.size(); ++i) {
            if (queues_[i]) queues_[i]->start(activation.kicks[i].fd(), paused_);
        }
        for (std::size_t i = 0; i < pairs; ++i) {
            if (receivers_[i] != nullptr) receivers_[i]->read_tap(true);
        }
        if (vhost_) vhost_->start(paused_);
        if (link_) link_->set_users(&activation.hooks, {queues_[0].get(), queues_[1].get()});
    });
    // Its link may have been up where it was saved.
    if (link_ && restored && !backend_.carrier) activation.hooks.config_changed();
    return {};
}

std::unique_ptr<QueueWorker> NetDevice::make_queue(const QueueSetup& setup, Queue queue, RxQueue*& receiver) {
    Pair& pair = backend_.pairs[setup.index / 2];
    const bool receives = setup.index % 2 == 0;
    if (link_ && receives) return std::make_unique<StreamRxQueue>(setup, std::move(queue), *link_);
    if (link_) return std::make_unique<StreamTxQueue>(setup, std::move(queue), *link_);
    if (!receives) return std::make_unique<TxQueue>(setup, std::move(queue), pair);
    auto made = std::make_unique<RxQueue>(setup, std::move(queue), pair);
    receiver = made.get();
    return made;
}

void NetDevice::reset() {
    if (queues_.empty()) return;
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.stop(idle); });
    if (link_) engine_.run_sync([&] { link_->set_users(nullptr, {}); });
    if (vhost_) {
        std::latch idle(1);
        engine_.run_sync([&] { vhost_->stop(idle); });
        idle.wait();
        engine_.run_sync([&] {
            engine_.unschedule(*vhost_);
            vhost_.reset();
        });
    }
    queues_.clear();
    receivers_.clear();
    hooks_ = nullptr;
    can_announce_ = false;
    forget_driver();
    engine_.run_sync([&] {
        for (Pair& pair : backend_.pairs)
            pair.active = false;
    });
    backend_.queue_pairs = 1;
    backend_.guest_offloads = 0;
}

void NetDevice::pause() {
    paused_ = true;
    engine_.run_sync([&] {
        if (vhost_) vhost_->pause();
    });
    quiesce(engine_, queues_, [](QueueWorker& queue, std::latch& idle) { queue.drain(idle); });
    engine_.run_sync([&] {
        if (link_) link_->pause();
    });
}

void NetDevice::resume() {
    paused_ = false;
    engine_.run_sync([&] {
        for (const auto& queue : queues_) {
            if (queue) queue->resume();
        }
        if (link_) link_->resume();
        if (vhost_) vhost_->resume();
    });
}

void NetDevice::memory_changed() {
    engine_.run_sync([&] {
        if (vhost_) vhost_->memory_changed();
    });
}

void NetDevice::queue_interrupt_changed(std::uint16_t index) {
    if (!vhost_) return;
    engine_.run_sync([&] { vhost_->queue_interrupt_changed(index); });
}

std::vector<QueuePosition> NetDevice::queue_positions() const {
    std::vector<QueuePosition> positions;
    engine_.run_sync([&] {
        for (const auto& queue : queues_)
            positions.push_back(queue ? queue->position() : QueuePosition{});
        for (std::size_t i = 0; vhost_ && i + 1 < positions.size(); ++i)
            positions[i] = vhost_->position(static_cast<std::uint16_t>(i));
    });
    return positions;
}

/// What a driver chose ends with it.
void NetDevice::forget_driver() {
    backend_.announce = false;
    backend_.mac = mac_bits(mac_);
    backend_.promiscuous = false;
    backend_.all_multicast = false;
}

void NetDevice::set_link(bool up) {
    const bool changed = engine_.run_sync([&] {
        if (backend_.link_up.exchange(up, std::memory_order_relaxed) == up) return false;
        // Packets that wait for a limit are dropped now, not when it is their turn.
        backend_.rx.wake();
        backend_.tx.wake();
        if (vhost_) vhost_->update();
        return true;
    });
    if (!changed) return;
    if (TransportHooks* hooks = hooks_.load(); hooks != nullptr) hooks->config_changed();
}

bool NetDevice::announce() {
    TransportHooks* hooks = hooks_.load();
    if (hooks == nullptr || !can_announce_) return false;
    backend_.announce = true;
    hooks->config_changed();
    return true;
}

void NetDevice::announce_for_driver() const {
    if (end_.taps.empty() || !backend_.link_up.load(std::memory_order_relaxed)) return;
    const auto frame = rarp_frame(mac_of_bits(backend_.mac.load(std::memory_order_relaxed)));
    const Tap& tap = end_.taps.front();
    if (::write(tap.fd(), frame.data(), frame.size()) < 0)
        log_warn("network interface {}: {} is not told that it is here now: {}", config_.id, tap.name(),
                 errno_text(errno));
}

Result<> NetDevice::set_limits(const Limits& limits) {
    HAKO_TRY(check_limits(config_.id, limits, end_));
    engine_.run_sync([&] {
        backend_.rx.set_limits(limits.rx);
        backend_.tx.set_limits(limits.tx);
    });
    return {};
}

State NetDevice::state() const {
    return {.features = features_,
            .mac = mac_,
            .mtu = mtu_,
            .link_up = backend_.link_up.load(std::memory_order_relaxed),
            .announce = backend_.announce.load(std::memory_order_relaxed),
            .queue_pairs = backend_.queue_pairs.load(std::memory_order_relaxed),
            .used_mac = mac_of_bits(backend_.mac.load(std::memory_order_relaxed)),
            .promiscuous = backend_.promiscuous.load(std::memory_order_relaxed),
            .all_multicast = backend_.all_multicast.load(std::memory_order_relaxed),
            .guest_offloads = backend_.guest_offloads.load(std::memory_order_relaxed)};
}

Metrics NetDevice::metrics(std::uint16_t queue) const {
    return queue < queue_sizes_.size() ? metrics_[queue].values() : Metrics{};
}

Result<> NetDevice::try_queue_pairs(std::uint16_t pairs) {
    // The taps to be used first: when one cannot be had nothing has changed.
    for (std::size_t i = 0; i < std::min<std::size_t>(pairs, end_.taps.size()); ++i)
        HAKO_TRY(end_.taps[i].set_attached(true));
    for (std::size_t i = 0; i < pairs; ++i)
        backend_.pairs[i].active = true;
    for (std::size_t i = pairs; i < end_.taps.size(); ++i) {
        backend_.pairs[i].active = false;
        if (receivers_[i] != nullptr) receivers_[i]->read_tap(false);
        // What the host sends to a queue that stays attached is lost; all else works.
        if (const auto detached = end_.taps[i].set_attached(false); !detached)
            backend_.log.warn("network interface {}: {}", config_.id, detached.error().text());
    }
    backend_.queue_pairs = pairs;
    if (vhost_) vhost_->update();
    return {};
}

Result<> NetDevice::try_guest_offloads(std::uint64_t offloads) {
    if (!end_.taps.empty())
        HAKO_TRY(
            end_.taps.front().set_offloads(offloads));  // those of the interface, whichever queue is asked
    backend_.guest_offloads = offloads;
    return {};
}

bool NetDevice::set_queue_pairs(std::uint16_t pairs) {
    const std::uint16_t before = backend_.queue_pairs;
    const auto set = try_queue_pairs(pairs);
    if (!set) backend_.log.warn("network interface {}: {}", config_.id, set.error().text());
    for (std::size_t i = before; i < backend_.queue_pairs; ++i) {
        if (receivers_[i] != nullptr) receivers_[i]->read_tap(true);
    }
    return set.has_value();
}

bool NetDevice::set_guest_offloads(std::uint64_t offloads) {
    const auto set = try_guest_offloads(offloads);
    if (!set) backend_.log.warn("network interface {}: {}", config_.id, set.error().text());
    return set.has_value();
}

void NetDevice::set_promiscuous(bool on) {
    backend_.promiscuous = on;
}

void NetDevice::set_all_multicast(bool on) {
    backend_.all_multicast = on;
}

void NetDevice::set_mac(const Mac& mac) {
    backend_.mac = mac_bits(mac);
}

void NetDevice::announced() {
    backend_.announce = false;
}

}  // namespace hako::virtio::net
