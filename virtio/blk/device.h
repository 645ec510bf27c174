// virtio-blk (virtio 1.3, 5.2): a disk whose requests run on an io engine.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virtio/blk/backend.h"
#include "virtio/blk/config.h"
#include "virtio/blk/dirty_blocks.h"
#include "virtio/blk/disk.h"
#include "virtio/blk/metrics.h"
#include "virtio/blk/state.h"
#include "virtio/device.h"
#include "vmm/io/engine.h"

namespace hako::virtio::blk {

class RequestQueue;

/// One disk. All its queues are served by one engine.
///
/// A pause() holds whatever comes after it, an activate() too: a restored device may be activated while
/// paused.
class BlockDevice final : public Device {
  public:
    /// `state`: as saved by state(), on restore. The engine must outlive the device. `now`: the clock of its
    /// limits and latencies.
    static Result<std::unique_ptr<BlockDevice>> create(const Config& config, Disk disk, io::Engine& engine,
                                                       const std::optional<State>& state = std::nullopt,
                                                       Clock now = std::chrono::steady_clock::now);
    BlockDevice(const BlockDevice&) = delete;
    BlockDevice& operator=(const BlockDevice&) = delete;
    ~BlockDevice() override;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kBlock; }
    [[nodiscard]] std::uint64_t features() const override { return features_; }
    [[nodiscard]] std::span<const std::uint16_t> queue_max_sizes() const override { return queue_sizes_; }

    void read_config(std::uint32_t offset, std::span<std::byte> data) override;
    void write_config(std::uint32_t offset, std::span<const std::byte> data) override;

    Result<> activate(const Activation& activation) override;
    void reset() override;
    void pause() override;
    void resume() override;
    [[nodiscard]] std::vector<QueuePosition> queue_positions() const override;

    /// All of the device's own state; what the driver negotiated is the transport's.
    [[nodiscard]] State state() const;
    /// Counted since construction. Any thread.
    [[nodiscard]] Metrics metrics(std::uint16_t queue) const;
    [[nodiscard]] const std::string& id() const { return config_.id; }
    [[nodiscard]] Disk& disk() { return disk_; }
    /// Takes the image away: for the machine's next life, or from a guest that still uses it. Requests in
    /// flight are done when it returns, and each one that follows fails. Not while it is activated or reset.
    [[nodiscard]] Disk take_disk();

    /// From now on blocks that are written are marked in what is returned, for a copy that begins then. It
    /// takes the place of one before. Control thread, as untrack_writes().
    std::shared_ptr<DirtyBlocks> track_writes();
    void untrack_writes();

    /// Looks whether the image has another size than the driver was told and, if so, tells it. Control
    /// thread. Returns whether it had.
    Result<bool> refresh_capacity();
    /// Goes faster or slower from now on, also for requests that wait. Any thread.
    void set_limits(const io::RateLimits& limits);

  private:
    BlockDevice(const Config& config, Disk disk, io::Engine& engine, const State& state, Clock now);

    const Config config_;
    Disk disk_;
    io::Engine& engine_;
    const std::uint64_t features_;
    const Topology topology_;
    std::vector<std::uint16_t> queue_sizes_;
    Backend backend_;
    std::shared_ptr<DirtyBlocks> dirty_;
    std::unique_ptr<QueueMetrics[]> metrics_;
    std::vector<std::unique_ptr<RequestQueue>> queues_;  ///< while active; null where the driver enabled none
    std::atomic<TransportHooks*> hooks_{nullptr};        ///< while active
    bool paused_ = false;
};

}  // namespace hako::virtio::blk
