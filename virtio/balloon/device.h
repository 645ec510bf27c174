// virtio-balloon (virtio 1.3, 5.5): memory that the guest does without is the host's meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "virtio/balloon/config.h"
#include "virtio/balloon/metrics.h"
#include "virtio/balloon/protocol.h"
#include "virtio/balloon/queue_worker.h"
#include "virtio/balloon/state.h"
#include "virtio/balloon/statistics.h"
#include "virtio/device.h"
#include "vmm/io/engine.h"

namespace hako::virtio::balloon {

class StatsQueue;

/// The balloon. Its queues are served by one engine.
///
/// A pause() holds whatever comes after it, an activate() too: a restored device may be activated while
/// paused.
class BalloonDevice final : public Device {
  public:
    static constexpr std::uint16_t kQueueSize = 128;
    static constexpr std::size_t kRoles = 4;

    /// `state`: as saved by state(), on restore. The engine must outlive the device.
    static Result<std::unique_ptr<BalloonDevice>> create(const Config& config, io::Engine& engine,
                                                         const std::optional<State>& state = std::nullopt);
    BalloonDevice(const BalloonDevice&) = delete;
    BalloonDevice& operator=(const BalloonDevice&) = delete;
    ~BalloonDevice() override;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kBalloon; }
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
    [[nodiscard]] const std::string& id() const { return config_.id; }

    /// How large the guest is to make it from now on, bytes; the driver is told. Control thread.
    void resize(std::uint64_t bytes);

    // From any thread.

    /// What the guest is to do without, and what it says it does without, bytes.
    [[nodiscard]] std::uint64_t wanted() const { return num_pages_.load() * kBalloonPage; }
    [[nodiscard]] std::uint64_t actual() const { return actual_.load() * kBalloonPage; }
    /// Counted since construction.
    [[nodiscard]] Metrics metrics(Role role) const {
        return metrics_[static_cast<std::size_t>(role)].values();
    }
    /// The newest of the guest's statistics, at once; and the guest is asked for fresh ones.
    [[nodiscard]] std::vector<std::pair<std::string_view, std::uint64_t>> statistics();

  private:
    BalloonDevice(const Config& config, io::Engine& engine, const State& state);
    [[nodiscard]] std::unique_ptr<QueueWorker> make_queue(Role role, const QueueSetup& setup, Queue queue);

    const Config config_;
    io::Engine& engine_;
    const std::uint64_t features_;
    const std::vector<std::uint16_t> queue_sizes_;
    std::atomic<std::uint32_t> num_pages_;
    std::atomic<std::uint32_t> actual_;
    std::atomic<std::uint32_t> poison_val_;
    std::array<QueueMetrics, kRoles> metrics_;
    Statistics statistics_;
    std::atomic<TransportHooks*> hooks_{nullptr};       ///< while active
    std::vector<std::unique_ptr<QueueWorker>> queues_;  ///< while active; null: the driver did not enable it
    std::mutex asking_;                                 ///< for `stats_queue_`; never the io thread's
    StatsQueue* stats_queue_ = nullptr;                 ///< of `queues_`
    bool active_ = false;
    bool paused_ = false;
    bool broken_ = false;  ///< io thread
};

}  // namespace hako::virtio::balloon
