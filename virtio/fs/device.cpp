#include "virtio/fs/device.h"

#include <algorithm>
#include <utility>

#include "virtio/config_bytes.h"
#include "virtio/vhost_user/device_state.h"

namespace hako::virtio::fs {
namespace {

/// Of those that the daemon offers: what concerns the rings.
constexpr std::uint64_t kFeatures =
    virtio::feature::kVersion1 | virtio::feature::kIndirectDesc | virtio::feature::kEventIdx;

/// struct virtio_fs_config (virtio 1.3, 5.11.4)
constexpr std::size_t kQueuesOffset = kMaxTag;
constexpr std::size_t kConfigSize = kMaxTag + sizeof(std::uint32_t);

}  // namespace

Result<std::unique_ptr<FsDevice>> FsDevice::create(const Config& config,
                                                   std::unique_ptr<vhost_user::Frontend> daemon,
                                                   io::Engine& engine, const std::optional<State>& state) {
    if (config.tag.empty() || config.tag.size() > kMaxTag || config.tag.find('\0') != std::string::npos)
        return fail_input("the tag has {} bytes: give one of 1 to {}", config.tag.size(), kMaxTag);
    if (config.queues < 1 || config.queues > kMaxQueues)
        return fail_input("{} request queues: give 1 to {}", config.queues, kMaxQueues);
    if (const auto most = daemon->queues(); most && *most < config.queues + 1U)
        return fail_input("{} request queues: the daemon at {} serves {}", config.queues, config.socket,
                          *most == 0 ? 0 : *most - 1);
    const std::uint64_t offered = daemon->features() & kFeatures;
    const std::uint64_t features = state ? state->features : offered;
    // A state may come from another host: nothing in it is taken on trust.
    if ((features & ~offered) != 0 || (features & virtio::feature::kVersion1) == 0)
        return fail_input("the saved state has features {:#x}, the daemon at {} offers {:#x}", features,
                          config.socket, offered);
    if (state && !state->daemon.empty()) {
        if (!daemon->can_move())
            return fail_input(
                "the daemon at {} cannot go on from a saved state: use one that can "
                "(virtiofsd 1.11 or later)",
                config.socket);
        HAKO_TRY_WRAP(vhost_user::load_device_state(*daemon, state->daemon), "the daemon at {}",
                      config.socket);
    }
    return std::unique_ptr<FsDevice>(new FsDevice(config, std::move(daemon), engine, features));
}

FsDevice::FsDevice(const Config& config, std::unique_ptr<vhost_user::Frontend> daemon, io::Engine& engine,
                   std::uint64_t features)
    : config_(config),
      daemon_(std::move(daemon)),
      features_(features),
      queue_sizes_(config.queues + 1U, config.queue_size),
      queues_(engine, *daemon_) {}

void FsDevice::read_config(std::uint32_t offset, std::span<std::byte> data) {
    std::array<std::byte, kConfigSize> bytes{};
    std::ranges::copy(std::as_bytes(std::span(config_.tag)), bytes.begin());
    const std::uint32_t queues = config_.queues;
    std::ranges::copy(std::as_bytes(std::span(&queues, 1)), bytes.begin() + kQueuesOffset);
    read_config_bytes(bytes, offset, data);
}

void FsDevice::write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*data*/) {}

Result<> FsDevice::activate(const Activation& activation) {
    for (std::size_t i = 0; i < activation.queues.size(); ++i)
        if (activation.queues[i].enabled && activation.queues[i].size > config_.queue_size)
            return fail_input("queue {} has size {}, more than was offered", i, activation.queues[i].size);
    return queues_.activate(activation, paused_);
}

void FsDevice::pause() {
    paused_ = true;
    queues_.pause();
}

void FsDevice::resume() {
    paused_ = false;
    queues_.resume();
}

Result<State> FsDevice::state() const {
    State state{.features = features_, .daemon = {}};
    if (!queues_.active()) return state;
    HAKO_TRY(check_can_move(Move::kPaused));
    state.daemon = HAKO_TRY_WRAP(vhost_user::save_device_state(*daemon_), "virtio-fs {}", config_.id);
    return state;
}

Result<> FsDevice::check_can_move(Move move) const {
    if (move == Move::kPostcopy)
        return fail_conflict(
            "virtio-fs {}: its daemon at {} uses guest memory, and does not wait for pages: use Precopy, or "
            "remove the device first",
            config_.id, config_.socket);
    if (!daemon_->connected())
        return fail_conflict(
            "virtio-fs {}: its daemon at {} is gone, and with it what the guest has open: remove the device "
            "first",
            config_.id, config_.socket);
    if (!daemon_->can_move())
        return fail_conflict(
            "virtio-fs {}: its daemon at {} cannot hand its state over: use one that can (virtiofsd 1.11 or "
            "later), or remove the device first",
            config_.id, config_.socket);
    if (move == Move::kLive && !daemon_->can_log())
        return fail_conflict(
            "virtio-fs {}: its daemon at {} cannot tell what it writes into guest memory: pause the VM "
            "first, or remove the device",
            config_.id, config_.socket);
    return {};
}

}  // namespace hako::virtio::fs
