// One virtual machine: puts the parts together, starts and stops them in order, and says how it ended.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/acpi/pci_hotplug.h"
#include "devices/pci/address_space.h"
#include "devices/pci/segment.h"
#include "devices/platform_events.h"
#include "devices/watchdog/device.h"
#include "vmm/base/log.h"
#include "vmm/bus/bus.h"
#include "vmm/bus/gsi_router.h"
#include "vmm/bus/kick.h"
#include "vmm/kvm/clock.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/chassis.h"
#include "vmm/machine/config.h"
#include "vmm/machine/consoles.h"
#include "vmm/machine/cpus.h"
#include "vmm/machine/devices.h"
#include "vmm/machine/dirty_tracker.h"
#include "vmm/machine/host_resources.h"
#include "vmm/machine/platform.h"
#include "vmm/machine/state.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// How a machine's life ended.
struct MachineEnd {
    enum class Kind {
        kPowerOff,     ///< the guest powered off
        kReset,        ///< the guest asked for a reset
        kWatchdog,     ///< the guest's watchdog did
        kPanic,        ///< the guest's kernel reported a panic
        kTripleFault,  ///< the guest broke its own exception handling
        kKvmError,     ///< KVM cannot run a vCPU any further
    };
    Kind kind = Kind::kPowerOff;
    std::string detail;  ///< one line, for the last two

    bool operator==(const MachineEnd&) const = default;
};

/// What a machine tells its owner. Called on vCPU threads and the io thread; must not block.
class MachineListener {
  public:
    virtual ~MachineListener() = default;
    /// Called once.
    virtual void machine_ended(const MachineEnd& end) = 0;
    /// The guest's kernel has panicked and goes on into its crash kernel. Called once.
    virtual void crash_kernel_loaded() {}
    /// The guest has let go of a PCI slot: Machine::finish_removal() should follow, on the control thread.
    virtual void slot_ejected(pci::Bdf address) = 0;
    /// The same for a CPU: Machine::finish_cpu_removal() should follow.
    virtual void cpu_ejected(std::uint32_t cpu) = 0;
    /// The same for a piece of memory: Machine::finish_memory_removal() should follow.
    virtual void memory_ejected(unsigned piece) = 0;
};

/// What a machine works with and does not own: it outlives the machine.
struct MachineHost {
    io::Engine& engine;
    Consoles& consoles;
    DirtyLogMode dirty_log = DirtyLogMode::kInitiallySet;  ///< if this host has it
};

/// A built VM. Used by the control thread; one KVM VM, one process.
class Machine final : private PlatformEvents {
  public:
    /// What goes from one life of a machine to the next.
    struct Legacy {
        MachineConfig config;  ///< with the devices it had in the end
        HostResources resources;
    };

    /// What a machine goes on from, instead of booting.
    struct Restored {
        const MachineState& state;
        /// As it was when the state was taken: filled, or mapped in such a way that it fills itself. Nothing
        /// in it is read or written before resume().
        GuestMemory memory;
        kvm::Downtime downtime = kvm::Downtime::kCounts;
    };

    /// Builds everything and loads the kernel, or takes it from `restored`; the vCPUs are parked. The
    /// listener outlives the machine. A state that does not fit the configuration or this host's CPU is a
    /// Fault::kInput.
    static Result<std::unique_ptr<Machine>> create(MachineConfig config, HostResources resources,
                                                   const MachineHost& host, MachineListener& listener,
                                                   std::optional<Restored> restored = std::nullopt);
    /// The same on a chassis that stands; goes on from `state`. The chassis' memory is as it was when the
    /// state was taken by the time of resume(), and is not read or written before.
    static Result<std::unique_ptr<Machine>> create(MachineConfig config, Chassis chassis,
                                                   const MachineHost& host, MachineListener& listener,
                                                   const MachineState& state, kvm::Downtime downtime);
    ~Machine() override;

    /// Lets the devices and then the vCPUs go on; also the first start.
    void resume();
    /// Parks the vCPUs, then drains the devices: nothing in the guest changes when it returns.
    void pause();
    /// As pause(), at once and without the virtio devices: see Cpus::halt(). go_on() ends it.
    void halt();
    void go_on();
    [[nodiscard]] bool running() const { return running_; }
    /// Everything but memory, which save() leaves as it is. Not while it runs.
    [[nodiscard]] Result<MachineState> save() const;
    /// The vCPUs' part of it, also while it runs: they stand still for a moment.
    [[nodiscard]] Result<std::vector<kvm::VcpuState>> save_cpus();
    /// See CpuBrake::set(). Any thread, one at a time.
    void throttle(unsigned percent) { cpus_->throttle(percent); }
    [[nodiscard]] GuestMemory& memory() { return memory_; }
    [[nodiscard]] DirtyTracker& dirty_tracker() { return dirty_; }
    /// What is written to the images is on their storage when it returns. Any thread, while no device goes.
    Result<> flush_disks();
    /// A disk's image, open for reading.
    Result<Fd> open_image(const std::string& id);
    /// Ends the machine's life and gives back what outlives it. Nothing else may be called afterwards.
    Legacy stop();

    void press_power_button() { platform_->power().press_power_button(); }
    /// The serial port's end for a console backend, or null.
    [[nodiscard]] console::Port* serial() { return platform_->serial(); }
    /// Looks at the size of each image and tells the guest of those that changed.
    void refresh_disks();

    /// What the machine has now.
    [[nodiscard]] const MachineConfig& config() const { return config_; }
    [[nodiscard]] const Devices& devices() const { return *devices_; }
    /// Null if the VM has none.
    [[nodiscard]] const watchdog::Device* watchdog() const { return watchdog_.get(); }
    [[nodiscard]] std::vector<VcpuMetrics> vcpu_metrics() const { return cpus_->metrics(); }

    /// How many CPUs the guest is to have. Those that come are there when it returns, and the guest is told;
    /// to let go of those that are to go it is asked (also again), and each goes once it has
    /// (finish_cpu_removal()). A Fault::kBusy: more are wanted while some are still to go.
    Result<> resize_cpus(std::uint32_t count);
    /// How much memory the guest is to do without, bytes; whole pages of them count. It is told, and takes
    /// its time.
    Result<> resize_balloon(std::uint64_t bytes);
    /// Ends a CPU that the guest has let go of.
    void finish_cpu_removal(std::uint32_t cpu);

    /// How many bytes of memory the guest is to have. With a memory device it is told, and takes its time.
    /// Otherwise memory grows at once, and the guest is told; to let go of
    /// what is to go it is asked (also again), and each piece goes once it has, and those behind it have
    /// (finish_memory_removal()). What the guest keeps stays in config(). A Fault::kBusy: some is still to go
    /// that is wanted now. The dirty tracker stops when memory comes or goes.
    Result<> resize_memory(std::uint64_t bytes);
    /// Takes away a piece that the guest has let go of. True if the guest has less memory now.
    bool finish_memory_removal(unsigned piece);
    /// What the guest has now. Any thread.
    [[nodiscard]] std::uint64_t memory_bytes() const;

    /// Adds a device and tells the guest. The image, tap or socket is opened first: an error leaves all as it
    /// was.
    Result<pci::Bdf> add_disk(const virtio::blk::Config& config);
    Result<pci::Bdf> add_net(const virtio::net::Config& config);
    Result<pci::Bdf> add_console(const virtio::console::Config& config);
    Result<pci::Bdf> add_vsock(const virtio::vsock::Config& config);
    Result<pci::Bdf> add_fs(const virtio::fs::Config& config);
    /// Puts a disk in the place of the helper disk that has its id: the guest is asked to let go of that one,
    /// and sees the new one once it has (finish_removal()), or at the next reboot. `force`: it sees it at
    /// once, and the old one goes as remove_now() does it.
    Result<> replace_helper(seed::Helper helper, bool force);
    /// Plugs a disk that hako built.
    Result<> add_helper(seed::Helper helper);
    /// The same for a network interface that is to have another address: the old one loses its link at once,
    /// and the new one, in its slot, takes over its taps or socket.
    Result<> replace_net(const std::string& id, const virtio::net::Mac& mac);
    /// Asks the guest to let go of a device (also again); once it has, finish_removal() takes it out. A
    /// guest that never answers keeps it.
    Result<> request_removal(const std::string& id);
    /// Gives the device's image, tap or socket back at once, whatever the guest is doing with it. A network
    /// interface is gone then; a disk answers with errors until the guest lets go of it.
    Result<> remove_now(const std::string& id);
    /// Plugs a network interface's cable in or out.
    Result<> set_link(const std::string& id, bool up);
    /// How fast a disk, or each direction of a network interface, may go from now on.
    Result<> set_limits(const std::string& id, const io::RateLimits& limits);
    /// Tells the network where all interfaces are now, and asks their drivers to do so, too.
    void announce();
    /// Makes a disk's image larger and tells the guest.
    Result<> resize_disk(const std::string& id, std::uint64_t bytes);
    /// A non-maskable interrupt for each vCPU.
    Result<> inject_nmi();
    /// Memory and registers as an ELF core in a new file (see core_dump.h); vCPUs that run wait meanwhile.
    Result<> dump_core(const std::string& path);
    /// The second half of request_removal(). Does nothing for a slot of which that was not asked. True if
    /// another device with the same id is there now (replace_helper(), replace_net()).
    bool finish_removal(pci::Bdf address);

  private:
    Machine(MachineConfig config, kvm::Vm vm, GuestMemory memory, const MachineHost& host,
            MachineListener& listener);
    static std::unique_ptr<Machine> on(MachineConfig config, Chassis& chassis, const MachineHost& host,
                                       MachineListener& listener);
    Result<> boot(Chassis chassis, const boot::BootState& boot);
    Result<> go_on(Chassis chassis, const MachineState& state, kvm::Downtime downtime);
    Result<> build_devices(HostResources resources, const MachineState* restored);
    Result<> build_watchdog(const MachineState* restored);
    void drop_watchdog();
    [[nodiscard]] CpuPlace cpu_place();
    [[nodiscard]] Result<std::vector<kvm::VcpuState>> save_parked_cpus() const;
    Result<> grow_memory(std::uint64_t bytes);
    Result<> resize_blocks(std::uint64_t bytes);
    Result<> set_plugged_slot(bool there);
    Result<> set_plugged(std::uint64_t bytes);
    Result<> plug_cpus(std::uint32_t from, std::uint32_t to);
    void show_generation();
    void cpu_stopped(const VcpuStop& stop);
    [[nodiscard]] Result<pci::Bdf> removable(const std::string& id) const;
    Result<pci::Bdf> plug(const seed::Helper& helper,
                          const DeviceState<virtio::blk::State>* restored = nullptr);
    Result<> plug_later(const seed::Helper& helper);
    Result<bool> put_next(const std::string& id, pci::Bdf address);
    void take_out(pci::Bdf address, virtio::net::HostEnd* end = nullptr);
    void forget(const std::string& id);
    template <typename Work>
    void with_vcpus_parked(Work work);
    void ask_to_eject(pci::Bdf address);
    /// The guest is told of a new function.
    void tell_inserted(pci::Bdf address);
    Result<> build_segments(const MachineState* restored);
    void end(MachineEnd::Kind kind, std::string detail = {});

    // PlatformEvents, on vCPU threads.
    void power_off() override { end(MachineEnd::Kind::kPowerOff); }
    void reset() override { end(MachineEnd::Kind::kReset); }
    void panicked() override { end(MachineEnd::Kind::kPanic); }
    void crash_loaded() override {
        if (!crash_told_.exchange(true)) listener_.crash_kernel_loaded();
    }
    void watchdog_expired() override { end(MachineEnd::Kind::kWatchdog); }  // on the io thread
    void slot_ejected(pci::Bdf address) override { listener_.slot_ejected(address); }
    void cpu_ejected(std::uint32_t cpu) override { listener_.cpu_ejected(cpu); }
    void memory_ejected(unsigned piece) override { listener_.memory_ejected(piece); }

    // In the order of construction; each part may use those above it.
    MachineConfig config_;
    kvm::Vm vm_;
    GuestMemory memory_;
    std::atomic<std::uint64_t> memory_bytes_;  ///< without what a device plugs
    DirtyTracker dirty_;
    LogLimit ring_errors_;
    Bus pio_;
    Bus mmio_;
    GsiRouter interrupts_;
    KvmKicks kicks_;
    const MachineHost host_;
    MachineListener& listener_;
    std::atomic<bool> ended_{false};
    std::atomic<bool> crash_told_{false};
    std::unique_ptr<Platform> platform_;
    std::vector<std::unique_ptr<pci::Segment>> segments_;  ///< of PCI
    std::unique_ptr<Devices> devices_;
    std::unique_ptr<watchdog::Device> watchdog_;
    pci::Bdf watchdog_address_;
    std::optional<Cpus> cpus_;
    bool running_ = false;
    bool was_paused_ = false;  ///< its vCPUs have missed some time
    bool just_restored_ = false;
    std::vector<std::uint32_t>
        leaving_;  ///< by PCI segment: slots whose removal was requested, and not finished
};

}  // namespace hako
