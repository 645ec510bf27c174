// virtio-vsock (virtio 1.3, 5.10): stream sockets between programs in the guest and programs on the host.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "virtio/vsock/config.h"
#include "virtio/vsock/host_end.h"
#include "virtio/vsock/metrics.h"
#include "virtio/vsock/multiplexer.h"
#include "virtio/vsock/queue_worker.h"
#include "virtio/vsock/state.h"
#include "vmm/io/engine.h"

namespace hako::virtio::vsock {

/// One device; its queues and up to kMaxConnections connections are served by one engine.
///
/// A program on the host connects to the device's socket and writes "CONNECT <port>\n"; when the guest has
/// taken the connection it reads "OK <port>\n", and from then on what the guest writes. A program in the
/// guest that connects to a port of CID 2 finds who listens at "<socket>_<port>".
///
/// A pause() holds whatever comes after it, an activate() too: a restored device may be activated while
/// paused. A restored driver is told that its connections are over.
class VsockDevice final : public Device {
  public:
    static constexpr std::uint16_t kQueueSize = 256;
    static constexpr std::uint16_t kEventQueueSize = 16;

    /// `state`: as saved by state(), on restore. The engine must outlive the device.
    static Result<std::unique_ptr<VsockDevice>> create(const Config& config, HostEnd end, io::Engine& engine,
                                                       const std::optional<State>& state = std::nullopt);
    VsockDevice(const VsockDevice&) = delete;
    VsockDevice& operator=(const VsockDevice&) = delete;
    ~VsockDevice() override;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kVsock; }
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
    [[nodiscard]] Metrics metrics(std::uint16_t queue) const;
    [[nodiscard]] ConnectionMetrics connections() const { return connections_.values(); }
    [[nodiscard]] const std::string& id() const { return config_.id; }
    /// For another device in its place. It is reset.
    [[nodiscard]] HostEnd take_host_end() { return std::move(end_); }

  private:
    VsockDevice(const Config& config, HostEnd end, io::Engine& engine, const State& state);
    using Queues = std::array<std::unique_ptr<QueueWorker>, 3>;
    [[nodiscard]] std::unique_ptr<QueueWorker> make_queue(const QueueSetup& setup, Queue queue,
                                                          bool restored);

    const Config config_;
    HostEnd end_;
    io::Engine& engine_;
    const std::uint64_t features_;
    const std::array<std::uint16_t, 3> queue_sizes_{kQueueSize, kQueueSize, kEventQueueSize};
    std::array<QueueMetrics, 3> metrics_;
    LiveConnectionMetrics connections_;
    Multiplexer multiplexer_;
    Queues queues_;  ///< while active, one for each; null: the driver did not enable it
    bool active_ = false;
    bool paused_ = false;
    bool broken_ = false;  ///< io thread
};

}  // namespace hako::virtio::vsock
