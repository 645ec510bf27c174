// virtio-rng (virtio 1.3, 5.4): the host's random bytes for the guest.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "virtio/rng/backend.h"
#include "virtio/rng/config.h"
#include "virtio/rng/metrics.h"
#include "virtio/rng/state.h"
#include "vmm/io/engine.h"

namespace hako::virtio::rng {

class RequestQueue;

/// The entropy device. Its queue is served by one engine, with bytes from getrandom(2).
///
/// A pause() holds whatever comes after it, an activate() too: a restored device may be activated while
/// paused.
class EntropyDevice final : public Device {
  public:
    /// `state`: as saved by state(), on restore. The engine must outlive the device.
    static Result<std::unique_ptr<EntropyDevice>> create(const Config& config, io::Engine& engine,
                                                         const std::optional<State>& state = std::nullopt);
    EntropyDevice(const EntropyDevice&) = delete;
    EntropyDevice& operator=(const EntropyDevice&) = delete;
    ~EntropyDevice() override;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kEntropy; }
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
    [[nodiscard]] State state() const { return {.features = features_}; }
    /// Counted since construction. Any thread.
    [[nodiscard]] Metrics metrics() const { return metrics_.values(); }
    [[nodiscard]] const std::string& id() const { return config_.id; }

    /// Goes faster or slower from now on. Control thread.
    void set_limits(const io::RateLimits& limits);

  private:
    EntropyDevice(const Config& config, io::Engine& engine, const State& state);

    const Config config_;
    io::Engine& engine_;
    const std::uint64_t features_;
    const std::array<std::uint16_t, 1> queue_sizes_;
    Backend backend_;
    QueueMetrics metrics_;
    bool active_ = false;
    std::unique_ptr<RequestQueue> queue_;  ///< while active; null if the driver did not enable it
    bool paused_ = false;
};

}  // namespace hako::virtio::rng
