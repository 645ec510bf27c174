// virtio-mem (virtio 1.3, 5.15): memory that the guest plugs and unplugs in blocks, as the host asks it to.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "virtio/mem/config.h"
#include "virtio/mem/metrics.h"
#include "virtio/mem/request_queue.h"
#include "virtio/mem/state.h"
#include "virtio/mem/sweeper.h"
#include "vmm/io/engine.h"

namespace hako::virtio::mem {

/// The device. All of its region is in a slot of KVM's and usable from the start: to plug a block is to note
/// it (PluggedBlocks of the guest's memory), to unplug it is to note that and to give its memory back. A
/// guest that touches an unplugged block all the same reads zeros or what was there, and takes memory of the
/// host's until that block is unplugged the next time; none of it is saved or moved.
///
/// A driver's reset leaves all blocks as they are; with another machine (a reboot) all are unplugged.
///
/// A pause() holds whatever comes after it, an activate() too: a restored device may be activated while
/// paused.
class MemDevice final : public Device {
  public:
    static constexpr std::uint16_t kQueueSize = 128;

    /// `memory`: with blocks, and none of them plugged unless there is a `state`, as saved by state(); then
    /// it is not looked at before activate() or resume(). Both the memory and the engine outlive the device.
    static Result<std::unique_ptr<MemDevice>> create(const Config& config, GuestMemory& memory,
                                                     io::Engine& engine,
                                                     const std::optional<State>& state = std::nullopt);
    MemDevice(const MemDevice&) = delete;
    MemDevice& operator=(const MemDevice&) = delete;
    ~MemDevice() override;

    [[nodiscard]] DeviceType type() const override { return DeviceType::kMem; }
    [[nodiscard]] std::uint64_t features() const override { return features_; }
    [[nodiscard]] std::span<const std::uint16_t> queue_max_sizes() const override { return queue_sizes_; }

    void read_config(std::uint32_t offset, std::span<std::byte> data) override;
    void write_config(std::uint32_t offset, std::span<const std::byte> data) override;

    Result<> activate(const Activation& activation) override;
    void reset() override;
    void pause() override;
    void resume() override;
    [[nodiscard]] std::vector<QueuePosition> queue_positions() const override;

    /// All of the device's own state; what the driver negotiated is the transport's. Paused.
    [[nodiscard]] State state() const;
    [[nodiscard]] const std::string& id() const { return config_.id; }

    /// How much the guest is to have plugged from now on, bytes, whole blocks; the driver is told. Control
    /// thread.
    void resize(std::uint64_t bytes);

    // From any thread. Bytes.

    [[nodiscard]] std::uint64_t requested() const { return requested_.load(); }
    [[nodiscard]] std::uint64_t plugged() const { return blocks_.plugged(); }
    [[nodiscard]] std::uint64_t region_size() const { return config_.region_size; }
    /// Counted since construction.
    [[nodiscard]] Metrics metrics() const { return metrics_.values(); }

  private:
    MemDevice(const Config& config, GuestMemory& memory, io::Engine& engine, std::uint64_t features,
              bool restored);
    void sweep();  ///< io thread
    void stop_sweeping();

    const Config config_;
    io::Engine& engine_;
    PluggedBlocks& blocks_;
    const std::uint64_t features_;
    const std::array<std::uint16_t, 1> queue_sizes_ = {kQueueSize};
    std::atomic<std::uint64_t> requested_;
    DeviceMetrics metrics_;
    Sweeper sweeper_;
    std::atomic<TransportHooks*> hooks_{nullptr};  ///< while active
    std::unique_ptr<RequestQueue> queue_;          ///< while active; null: the driver did not enable it
    bool active_ = false;
    bool paused_ = false;
    bool look_at_all_ = false;  ///< the memory of unplugged blocks may have come along
    bool broken_ = false;       ///< io thread
};

}  // namespace hako::virtio::mem
