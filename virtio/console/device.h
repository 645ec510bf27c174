// virtio-console (virtio 1.3, 5.3): a console and named ports, each with a host end of its own.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/console/backend.h"
#include "virtio/console/config.h"
#include "virtio/console/control_queues.h"
#include "virtio/console/metrics.h"
#include "virtio/console/state.h"
#include "virtio/device.h"
#include "vmm/io/engine.h"

namespace hako::virtio::console {

/// One device with up to kMaxPorts ports, its queues served by one engine. Port 0 is the console.
///
/// A pause() holds whatever comes after it, an activate() too: a restored device may be activated while
/// paused. Host ends go on writing what they hold.
class ConsoleDevice final : public Device, private ControlSender {
  public:
    /// `backends`: the host ends, of port 0 and of each of `config.ports`; null: there is none. They and the
    /// engine outlive the device. `state`: as saved by state(), on restore.
    static Result<std::unique_ptr<ConsoleDevice>> create(const Config& config,
                                                         std::vector<hako::console::Backend*> backends,
                                                         io::Engine& engine,
                                                         const std::optional<State>& state = std::nullopt);
    ConsoleDevice(const ConsoleDevice&) = delete;
    ConsoleDevice& operator=(const ConsoleDevice&) = delete;
    /// Stops the host ends: they write what they hold, if it is taken within a second.
    ~ConsoleDevice() override;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kConsole; }
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

  private:
    ConsoleDevice(const Config& config, const std::vector<hako::console::Backend*>& backends,
                  io::Engine& engine, const State& state);
    using Queues = std::vector<std::unique_ptr<QueueWorker>>;
    [[nodiscard]] std::unique_ptr<QueueWorker> make_queue(const QueueSetup& setup, Queue queue);
    void connect_ports(const Activation& activation);

    // ControlSender, on the io thread.
    void tell(std::uint16_t port, std::uint8_t messages) override;

    const Config config_;
    io::Engine& engine_;
    const std::uint64_t features_;
    std::vector<std::uint16_t> queue_sizes_;
    std::unique_ptr<QueueMetrics[]> metrics_;
    Ports ports_;
    Queues queues_;                       ///< while active, one for each; null: the driver did not enable it
    std::atomic<std::uint32_t> size_{0};  ///< of the console, columns and rows << 16
    // The io thread's, while active.
    TransportHooks* hooks_ = nullptr;
    bool multiport_ = false;  ///< negotiated
    bool broken_ = false;
    bool paused_ = false;
};

}  // namespace hako::virtio::console
