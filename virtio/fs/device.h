// virtio-fs (virtio 1.3, 5.11): a directory of the host that the guest mounts, served by a daemon
// (virtiofsd).
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "virtio/fs/config.h"
#include "virtio/fs/state.h"
#include "virtio/vhost_user/frontend.h"
#include "virtio/vhost_user/queues.h"
#include "vmm/io/engine.h"

namespace hako::virtio::fs {

/// One device. hako shows its configuration; its queues (one for high priority, then those for requests) are
/// the daemon's, to which hako speaks vhost-user.
///
/// A pause() holds whatever comes after it, an activate() too: a restored device may be activated while
/// paused.
class FsDevice final : public Device {
  public:
    /// `state`: as saved by state(), on restore: the daemon gets its part of it here. The engine must outlive
    /// the device.
    static Result<std::unique_ptr<FsDevice>> create(const Config& config,
                                                    std::unique_ptr<vhost_user::Frontend> daemon,
                                                    io::Engine& engine,
                                                    const std::optional<State>& state = std::nullopt);
    FsDevice(const FsDevice&) = delete;
    FsDevice& operator=(const FsDevice&) = delete;
    ~FsDevice() override = default;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kFs; }
    [[nodiscard]] std::uint64_t features() const override { return features_; }
    [[nodiscard]] std::span<const std::uint16_t> queue_max_sizes() const override { return queue_sizes_; }

    void read_config(std::uint32_t offset, std::span<std::byte> data) override;
    void write_config(std::uint32_t offset, std::span<const std::byte> data) override;
    void queue_interrupt_changed(std::uint16_t index) override { queues_.queue_interrupt_changed(index); }

    Result<> activate(const Activation& activation) override;
    void reset() override { queues_.reset(); }
    void pause() override;
    void resume() override;
    [[nodiscard]] std::vector<QueuePosition> queue_positions() const override { return queues_.positions(); }

    /// Its own state and the daemon's, paused. The daemon may not give it.
    [[nodiscard]] Result<State> state() const;
    /// Refuses what cannot be had from this daemon, as a Fault::kConflict that names the device.
    [[nodiscard]] Result<> check_can_move(Move move) const;
    /// What the daemon writes into guest memory goes into `memory`'s bitmap at each collect_writes().
    Result<> log_writes(bool on, GuestMemory& memory) { return queues_.set_logging(on, memory); }
    void collect_writes() { queues_.collect_log(); }
    /// Guest memory has got, or lost, a region.
    void memory_changed() { queues_.memory_changed(); }

    [[nodiscard]] const std::string& id() const { return config_.id; }
    /// For another device in its place. It is reset.
    [[nodiscard]] std::unique_ptr<vhost_user::Frontend> take_daemon() { return std::move(daemon_); }

  private:
    FsDevice(const Config& config, std::unique_ptr<vhost_user::Frontend> daemon, io::Engine& engine,
             std::uint64_t features);

    const Config config_;
    std::unique_ptr<vhost_user::Frontend> daemon_;
    const std::uint64_t features_;
    const std::vector<std::uint16_t> queue_sizes_;
    vhost_user::Queues queues_;
    bool paused_ = false;
};

}  // namespace hako::virtio::fs
