// virtio-net (virtio 1.3, 5.1): a network interface whose packets go through taps or a stream socket.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "virtio/net/backend.h"
#include "virtio/net/config.h"
#include "virtio/net/control_queue.h"
#include "virtio/net/host_end.h"
#include "virtio/net/metrics.h"
#include "virtio/net/state.h"
#include "virtio/net/stream_link.h"
#include "virtio/net/vhost_pairs.h"
#include "vmm/io/engine.h"

namespace hako::virtio::net {

class QueueWorker;
struct QueueSetup;
class RxQueue;

/// One interface. All its queues are served by one engine, or those with packets by the kernel's vhost-net.
///
/// Queue 2N receives, 2N+1 transmits; the control queue comes last. A pause() holds whatever comes after it,
/// an activate() too: a restored device may be activated while paused.
class NetDevice final : public Device, private ControlActions {
  public:
    /// `end`: what HostEnd::open() gave for the config. `state`: as saved by state(), on restore. The engine
    /// must outlive the device. `now`: the clock of its limits.
    static Result<std::unique_ptr<NetDevice>> create(const Config& config, HostEnd end, io::Engine& engine,
                                                     const std::optional<State>& state = std::nullopt,
                                                     Clock now = std::chrono::steady_clock::now);
    NetDevice(const NetDevice&) = delete;
    NetDevice& operator=(const NetDevice&) = delete;
    ~NetDevice() override;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kNet; }
    [[nodiscard]] std::uint64_t features() const override { return features_; }
    [[nodiscard]] std::span<const std::uint16_t> queue_max_sizes() const override { return queue_sizes_; }

    void read_config(std::uint32_t offset, std::span<std::byte> data) override;
    void write_config(std::uint32_t offset, std::span<const std::byte> data) override;

    void queue_interrupt_changed(std::uint16_t index) override;
    /// Tells the kernel, where it carries the packets, of regions that came or went.
    void memory_changed();
    Result<> activate(const Activation& activation) override;
    void reset() override;
    void pause() override;
    void resume() override;
    [[nodiscard]] std::vector<QueuePosition> queue_positions() const override;

    /// Plugs the cable in or out, and tells the driver. While it is out packets are dropped both ways, those
    /// too that wait for a limit or in the tap. Any thread.
    void set_link(bool up);
    /// Asks the driver to tell the network where its addresses are now, as after a migration (virtio 1.3,
    /// 5.1.6.5.4). False: there is no driver, or it does not know how. Any thread.
    bool announce();
    /// Tells the network itself, whatever the driver knows: a RARP frame into the tap. Any thread.
    void announce_for_driver() const;
    /// Goes faster or slower from now on, also for packets that wait. Refused with vhost-net. Any thread.
    Result<> set_limits(const Limits& limits);

    /// All of the device's own state; what the driver negotiated is the transport's.
    [[nodiscard]] State state() const;
    /// Counted since construction. Any thread.
    [[nodiscard]] Metrics metrics(std::uint16_t queue) const;
    [[nodiscard]] const std::string& id() const { return config_.id; }
    /// For the machine's next life, once the device is reset; it is of no use afterwards.
    [[nodiscard]] HostEnd take_host_end();

  private:
    NetDevice(const Config& config, HostEnd end, io::Engine& engine, const State& state, Clock now);
    [[nodiscard]] std::unique_ptr<QueueWorker> make_queue(const QueueSetup& setup, Queue queue,
                                                          RxQueue*& receiver);
    void stop_host_end();
    [[nodiscard]] std::size_t control_index(std::uint64_t negotiated) const;
    Result<> try_queue_pairs(std::uint16_t pairs);
    Result<> try_guest_offloads(std::uint64_t offloads);

    // ControlActions, on the io thread.
    bool set_queue_pairs(std::uint16_t pairs) override;
    bool set_guest_offloads(std::uint64_t offloads) override;
    void set_promiscuous(bool on) override;
    void set_all_multicast(bool on) override;
    void set_mac(const Mac& mac) override;
    void announced() override;
    void forget_driver();

    const Config config_;
    HostEnd end_;
    io::Engine& engine_;
    const std::uint64_t features_;
    const Mac mac_;  ///< before the driver chose another
    const std::uint16_t mtu_;
    std::vector<std::uint16_t> queue_sizes_;
    Backend backend_;
    std::unique_ptr<StreamLink> link_;   ///< with a stream
    std::unique_ptr<VhostPairs> vhost_;  ///< with vhost, while active
    std::unique_ptr<QueueMetrics[]> metrics_;
    std::vector<std::unique_ptr<QueueWorker>> queues_;  ///< while active; null where the driver enabled none
    std::vector<RxQueue*> receivers_;                   ///< of them, by pair
    std::atomic<TransportHooks*> hooks_{nullptr};       ///< while active
    std::atomic<bool> can_announce_{false};             ///< while active: the driver knows how
    bool paused_ = false;
};

}  // namespace hako::virtio::net
