// One virtual machine: puts the parts together, starts and stops them in order, and says how it ended.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/pci/address_space.h"
#include "devices/pci/host_bridge.h"
#include "devices/platform_events.h"
#include "virtio/blk/device.h"
#include "virtio/net/device.h"
#include "virtio/pci/transport.h"
#include "virtio/rng/device.h"
#include "vmm/bus/bus.h"
#include "vmm/bus/gsi_router.h"
#include "vmm/bus/kick.h"
#include "vmm/io/engine.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/config.h"
#include "vmm/machine/cpus.h"
#include "vmm/machine/host_resources.h"
#include "vmm/machine/platform.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// How a machine's life ended.
struct MachineEnd {
    enum class Kind {
        kPowerOff,     ///< the guest powered off
        kReset,        ///< the guest asked for a reset
        kPanic,        ///< the guest's kernel reported a panic
        kTripleFault,  ///< the guest broke its own exception handling
        kKvmError,     ///< KVM cannot run a vCPU any further
    };
    Kind kind = Kind::kPowerOff;
    std::string detail;  ///< one line, for the last two

    bool operator==(const MachineEnd&) const = default;
};

/// A built VM. Used by the control thread; one KVM VM, one process.
class Machine final : private PlatformEvents {
  public:
    /// Builds everything and loads the kernel; the vCPUs are parked. `serial` may be null (no serial port)
    /// and outlives the machine. `on_end` is called once, on a vCPU's thread, and must not block.
    static Result<std::unique_ptr<Machine>> create(const MachineConfig& config, HostResources resources,
                                                   console::Sink* serial,
                                                   std::function<void(const MachineEnd&)> on_end);
    ~Machine() override;

    /// Lets the devices and then the vCPUs go on; also the first start.
    void resume();
    /// Parks the vCPUs, then drains the devices: nothing in the guest changes when it returns.
    void pause();
    /// Ends the machine's life and gives back what outlives it. Nothing else may be called afterwards.
    HostResources stop();

    void press_power_button() { platform_->power().press_power_button(); }
    /// The serial port's end for a console backend, or null.
    [[nodiscard]] console::Port* serial() { return platform_->serial(); }
    /// Looks at the size of each image and tells the guest of those that changed.
    void refresh_disks();

  private:
    /// A virtio device in its PCI slot. The transport owns the device.
    struct Slot {
        std::unique_ptr<virtio::PciTransport> transport;
        pci::Bdf address;
    };
    struct BlockSlot : Slot {
        virtio::blk::BlockDevice* device;
    };

    struct NetSlot : Slot {
        virtio::net::NetDevice* device;
    };

    Machine(kvm::Vm vm, GuestMemory memory, std::function<void(const MachineEnd&)> on_end);
    Result<> build(const kvm::System& system, const MachineConfig& config, const boot::BootState& boot,
                   HostResources resources, console::Sink* serial);
    Result<> add_block(const virtio::blk::Config& config, virtio::blk::Disk disk);
    Result<> add_net(const virtio::net::Config& config, std::vector<virtio::net::Tap> taps);
    Result<> add_rng(const virtio::rng::Config& config);
    Result<io::Engine*> engine();
    Result<Slot> plug(const std::string& id, std::unique_ptr<virtio::Device> device);
    void unplug(Slot& slot);
    void end(MachineEnd::Kind kind, std::string detail = {});

    // PlatformEvents, on vCPU threads.
    void power_off() override { end(MachineEnd::Kind::kPowerOff); }
    void reset() override { end(MachineEnd::Kind::kReset); }
    void panicked() override { end(MachineEnd::Kind::kPanic); }
    void crash_loaded() override {}

    // In the order of construction; each part may use those above it.
    kvm::Vm vm_;
    GuestMemory memory_;
    Bus pio_;
    Bus mmio_;
    GsiRouter interrupts_;
    KvmKicks kicks_;
    pci::AddressSpace pci_space_;
    std::function<void(const MachineEnd&)> on_end_;
    std::atomic<bool> ended_{false};
    std::unique_ptr<Platform> platform_;
    std::unique_ptr<pci::HostBridge> bridge_;
    std::unique_ptr<io::Engine> engine_;  ///< made for the first device that needs it
    std::vector<BlockSlot> blocks_;       ///< in the order of MachineConfig::disks, then the seed
    bool has_seed_ = false;
    std::vector<NetSlot> nets_;  ///< in the order of MachineConfig::nets
    std::optional<Slot> rng_;
    std::optional<Cpus> cpus_;
};

}  // namespace hako
