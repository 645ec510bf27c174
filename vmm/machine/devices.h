// The virtio devices of a machine, each in its PCI slot: added, found by id, taken out.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "devices/pci/bdf.h"
#include "devices/pci/host_bridge.h"
#include "virtio/balloon/device.h"
#include "virtio/blk/device.h"
#include "virtio/console/device.h"
#include "virtio/fs/device.h"
#include "virtio/mem/device.h"
#include "virtio/net/device.h"
#include "virtio/pci/transport.h"
#include "virtio/rng/device.h"
#include "virtio/vsock/device.h"
#include "vmm/base/result.h"
#include "vmm/io/engine.h"
#include "vmm/machine/dirty_tracker.h"
#include "vmm/machine/host_resources.h"
#include "vmm/machine/state.h"
#include "vmm/seed/helper.h"

namespace hako {

/// Control thread, but for for_each() and ForeignWrites. Devices may be added while vCPUs run; to take one
/// out they are parked.
class Devices final : public ForeignWrites {
  public:
    /// All of it outlives the devices.
    Devices(const virtio::PciServices& services, pci::HostBridge& bridge, io::Engine& engine)
        : services_(services), segments_{{&services.space, &bridge}}, engine_(engine) {}
    Devices(const Devices&) = delete;
    Devices& operator=(const Devices&) = delete;
    ~Devices() override;

    /// The next PCI segment, which outlives the devices.
    void add_segment(pci::AddressSpace& space, pci::HostBridge& bridge) {
        segments_.push_back({&space, &bridge});
    }

    /// Each id is used once. The device is there for the guest when these return. `restored`, if not null:
    /// the device goes on from there, in its slot, at the next resume().
    Result<pci::Bdf> add(const virtio::blk::Config& config, virtio::blk::Disk disk,
                         const DeviceState<virtio::blk::State>* restored = nullptr);
    /// `slot`: where it goes, unless it is restored; unset: the first that is free.
    Result<pci::Bdf> add(const virtio::net::Config& config, virtio::net::HostEnd end,
                         const DeviceState<virtio::net::State>* restored = nullptr,
                         std::optional<std::uint8_t> slot = std::nullopt);
    Result<pci::Bdf> add(const virtio::rng::Config& config,
                         const DeviceState<virtio::rng::State>* restored = nullptr);
    /// `backends`: see ConsoleDevice::create().
    Result<pci::Bdf> add(const virtio::console::Config& config, std::vector<console::Backend*> backends,
                         const DeviceState<virtio::console::State>* restored = nullptr);
    Result<pci::Bdf> add(const virtio::vsock::Config& config, virtio::vsock::HostEnd end,
                         const DeviceState<virtio::vsock::State>* restored = nullptr);
    Result<pci::Bdf> add(const virtio::fs::Config& config,
                         std::unique_ptr<virtio::vhost_user::Frontend> daemon,
                         const DeviceState<virtio::fs::State>* restored = nullptr);
    Result<pci::Bdf> add(const virtio::balloon::Config& config,
                         const DeviceState<virtio::balloon::State>* restored = nullptr);
    Result<pci::Bdf> add(const virtio::mem::Config& config,
                         const DeviceState<virtio::mem::State>* restored = nullptr);
    /// A disk that was disowned.
    Result<> restore_gone(const DeviceState<virtio::blk::State>& saved);
    /// Puts all of them into `state`. They are paused, and no vCPU runs. A daemon may not give its part.
    [[nodiscard]] Result<> save(MachineState& state) const;
    /// Refuses, before anything is paused, a device that cannot go along. Nothing comes or goes meanwhile.
    [[nodiscard]] Result<> check_can_move(virtio::Move move) const;

    [[nodiscard]] bool has(std::string_view id) const { return slot_of(id) != nullptr; }
    /// Where the device is, or a Fault::kMissing that names the id.
    [[nodiscard]] Result<pci::Bdf> address(std::string_view id) const;
    /// The id of the device there, or "" if there is none or it is disowned.
    [[nodiscard]] std::string id_at(pci::Bdf address) const;
    /// The device with that id, or null if there is none or it is of another type.
    template <typename Device>
    [[nodiscard]] Device* find(std::string_view id) const {
        const Slot* const slot = slot_of(id);
        Device* const* const device = slot == nullptr ? nullptr : std::get_if<Device*>(&slot->device);
        return device == nullptr ? nullptr : *device;
    }
    /// Any thread. Calls `visit` with each device of that type, in the order in which they were added; they
    /// stay meanwhile.
    template <typename Device, typename Visit>
    void for_each(Visit visit) const {
        const std::lock_guard lock(mutex_);
        for (const Slot& slot : slots_) {
            if (Device* const* const device = std::get_if<Device*>(&slot.device)) visit(**device);
        }
    }

    // ForeignWrites: what daemons write. Any thread, while nothing comes or goes.
    Result<> start_logging() override;
    void stop_logging() override;
    void collect() override;
    /// Guest memory has other regions than before: tells those that have a table of them. Paused.
    void memory_changed();

    void resume();
    /// Returns when no device has a request in flight.
    void pause();
    /// Takes the device off the bus and destroys it; nothing of it is in flight afterwards. No vCPU runs.
    /// `end`: gets what a network interface had of the host, if it is not null.
    void remove(pci::Bdf address, virtio::net::HostEnd* end = nullptr);
    /// Gives back what a disk has of the host, and forgets its id. What the guest sees stays in its slot,
    /// where each request fails, until remove(): a guest waits for ever for requests that nobody answers.
    /// No vCPU runs.
    void disown(std::string_view disk_id);
    /// Removes all of them. What they had from the host goes into `resources`, in the order in which they
    /// were added, but for the disks that hako built.
    void take_apart(HostResources& resources, const std::vector<seed::Helper>& helpers);

  private:
    struct Disowned {
        virtio::blk::BlockDevice* device;
    };
    using Any = std::variant<Disowned, virtio::blk::BlockDevice*, virtio::net::NetDevice*,
                             virtio::rng::EntropyDevice*, virtio::console::ConsoleDevice*,
                             virtio::vsock::VsockDevice*, virtio::fs::FsDevice*,
                             virtio::balloon::BalloonDevice*, virtio::mem::MemDevice*>;
    struct Slot {
        std::string id;                                   ///< "" once disowned
        std::unique_ptr<virtio::PciTransport> transport;  ///< owns the device
        Any device;
        pci::Bdf address;
    };

    [[nodiscard]] const Slot* slot_of(std::string_view id) const;
    template <typename Device, typename Own>
    Result<pci::Bdf> plug(const std::string& id, std::unique_ptr<Device> device, std::uint16_t segment,
                          const DeviceState<Own>* restored, std::optional<std::uint8_t> slot = std::nullopt);
    template <typename Visit>
    void for_each_fs(Visit visit) const;
    void unplug(Slot& slot);
    static void give_back_image(const Any& device);

    struct Segment {
        pci::AddressSpace* space;
        pci::HostBridge* bridge;
    };

    const virtio::PciServices services_;  ///< of segment 0
    std::vector<Segment> segments_;
    io::Engine& engine_;
    std::atomic<bool> logging_{false};  ///< devices that come tell what they write, too
    mutable std::mutex mutex_;  ///< held by who changes `slots_`, and by who reads it on another thread
    std::vector<Slot> slots_;   ///< in the order in which they were added
    bool paused_ = false;
};

}  // namespace hako
