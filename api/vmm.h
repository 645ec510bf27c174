// The one VM of this process as clients drive it: none, or one.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/events/event_log.h"
#include "api/job.h"
#include "api/schema/console.h"
#include "api/schema/device.h"
#include "api/schema/disk.h"
#include "api/schema/fs.h"
#include "api/schema/helper_disk.h"
#include "api/schema/knobs.h"
#include "api/schema/net.h"
#include "api/schema/resize.h"
#include "api/schema/vm.h"
#include "api/schema/vm_info.h"
#include "api/schema/vsock.h"
#include "migration/instance/saved_vm.h"
#include "migration/protocol/messages.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/machine/instance.h"
#include "vmm/machine/machine_window.h"

namespace hako::api {

/// Control thread, which is busy as long as a call lasts; what says so is for any thread, and waits for
/// nothing. Without a VM calls are refused with Fault::kMissing, in the wrong state with Fault::kState.
class Vmm {
  public:
    /// Called from handlers of the io_context, never from within a call of this class.
    struct Callbacks {
        /// The guest ended its machine, which still stands. Not called for a reboot that is carried out.
        std::function<void(const MachineEnd&)> ended;
        /// A reboot could not be carried out; the VM is shut down.
        std::function<void(Error)> reboot_failed;
        /// The user typed Ctrl-A x on the terminal.
        std::function<void()> quit_typed;
    };

    /// `io` and `events` outlive this.
    Vmm(boost::asio::io_context& io, EventLog& events, const Instance::Options& options, Callbacks callbacks)
        : io_(io), events_(events), options_(options), callbacks_(std::move(callbacks)), job_(io) {}
    Vmm(const Vmm&) = delete;
    Vmm& operator=(const Vmm&) = delete;

    /// Checks the whole configuration and opens the console; all else waits for boot(). `fds` are the open
    /// taps of those interfaces that have NetConfig::num_fds, in their order.
    /// `helpers`: disks that are built already.
    Result<> create(VmConfig config, std::vector<Fd> fds = {}, std::vector<seed::Helper> helpers = {});
    /// From a command line.
    Result<> create(MachineConfig config);
    /// How a VM that is restored differs from the one that was saved.
    struct Identity {
        std::optional<seed::Helper> seed;  ///< in the place of the one it has, if it has one
        std::vector<NewMac> macs;
    };
    /// A VM that is paused, in a machine that goes on from what was saved. An error leaves no VM. What is
    /// new about it the guest finds when it runs, and has let go of what was there before.
    Result<> restore(VmConfig config, std::vector<Fd> fds, migration::SavedVm vm, Machine::Restored saved,
                     const Identity& identity);
    /// Ends the machine, if there is one, without asking the guest. Fine without a VM.
    Result<> remove();

    Result<> boot();
    Result<> pause();
    Result<> resume();
    Result<> shut_down();
    Result<> reboot();
    Result<> press_power_button();
    Result<> inject_nmi();
    /// Of a machine that runs or is paused, into a new file (Machine::dump_core()).
    Result<> dump_core(const std::string& path);

    /// At once if there is a machine: then where the device is. Otherwise for the next boot: then nothing.
    Result<std::optional<PciDeviceInfo>> add_disk(DiskConfig config);
    /// `fds` are open taps, one for each queue pair. They stay open until the device or the VM goes, since
    /// each boot needs them.
    Result<std::optional<PciDeviceInfo>> add_net(NetConfig config, std::vector<Fd> fds = {});
    Result<std::optional<PciDeviceInfo>> add_console(VmAddConsole config);
    /// A VM has one at most.
    Result<std::optional<PciDeviceInfo>> add_vsock(VsockConfig config);
    Result<std::optional<PciDeviceInfo>> add_fs(FsConfig config);
    /// A machine's guest is asked first, unless `removal.force`.
    Result<> remove_device(const VmRemoveDevice& removal);

    /// A machine's guest is asked first, unless `force`. Both refuse what is no helper disk.
    Result<> eject_helper(const VmEjectHelper& wanted);
    /// Checks and builds the new content; an error leaves all as it was. A machine's guest is asked to let go
    /// of the old disk, unless `force`, and then sees the new one.
    Result<> update_helper(const VmUpdateHelper& wanted);

    /// More or fewer CPUs, more or less memory, a larger or smaller balloon. A machine's guest is told or
    /// asked, and the numbers hold from now on, over reboots too; without a machine they are for the next
    /// boot.
    Result<> resize(const VmResize& wanted);

    /// How fast a device of the machine may go from now on.
    Result<> set_limits(const VmSetLimits& wanted);

    /// Where calls are made from.
    [[nodiscard]] boost::asio::io_context& control() { return io_; }
    /// How the VM was when the last call ended, but for what its balloon holds now. Any thread.
    [[nodiscard]] Result<std::shared_ptr<const VmInfo>> info() const;
    /// The same; nothing without a VM. Any thread.
    [[nodiscard]] std::optional<VmState> state() const;
    /// How often a watchdog ran out in this process. Any thread.
    [[nodiscard]] std::uint64_t watchdog_resets() const {
        return watchdog_resets_.load(std::memory_order_relaxed);
    }
    /// Calls `visit` with the machine, which stays meanwhile. It must not take long. Any thread.
    template <typename Visit>
    Result<> look_at_machine(Visit visit) const {
        if (window_.look(visit)) return {};
        return std::unexpected(no_machine());
    }

    /// Long work on the VM. While there is any, all else that works on the VM is refused with a
    /// Fault::kConflict that says what goes on.
    [[nodiscard]] Job& job() { return job_; }
    /// Starts it: the machine stands as it is for `work` until `ended`, which runs on the control thread. A
    /// guest that ends cancels it.
    Result<> start_job(std::string what, std::function<void()> work, std::function<void()> cancel,
                       std::function<void()> ended);
    /// For the job of a migration: a VM that nobody else may touch until its end, built but for a machine.
    Result<Instance*> begin_arrival(VmConfig config, std::vector<Fd> fds, const migration::Uuid& uuid);
    /// It will not come after all.
    void end_arrival();
    /// It is here: what it says of itself counts from now on.
    void settle_arrival();

    /// From now on nobody works on the VM, and who tries is told why; it can still be deleted.
    void seal(std::string why) { sealed_ = std::move(why); }
    void unseal() { sealed_.clear(); }
    [[nodiscard]] bool sealed() const { return !sealed_.empty(); }
    /// There is none, and nothing is under way that will bring one.
    [[nodiscard]] Result<> require_no_vm() const;

    /// Names the VM for as long as it lives, wherever it moves to.
    [[nodiscard]] const migration::Uuid& uuid() const { return uuid_; }
    /// From which create() makes the same VM.
    [[nodiscard]] Result<VmConfig> config() const;
    /// For info() and state(): what is true now.
    void publish();
    /// Adds an event of the VM, with what has changed published before.
    void tell(std::string_view event, Event::Properties properties = {});

    /// The VM, or a Fault::kMissing.
    [[nodiscard]] Result<Instance*> instance() const;
    /// What runs or is paused.
    [[nodiscard]] Result<Machine*> machine() const;

  private:
    using Fds = std::map<std::string, std::vector<Fd>, std::less<>>;  ///< by the interface's id

    Result<> make(VmConfig config, std::vector<Fd> fds, std::vector<seed::Helper> helpers);
    Result<> make(MachineConfig machine, VmConfig sent, Fds fds);
    Result<> end();
    Result<> change_identity(const Identity& identity);
    void device_replaced(const std::string& id);
    void claim_images();
    [[nodiscard]] Result<std::string> choose_id(const std::optional<std::string>& given,
                                                std::string_view prefix) const;
    /// One device more: `list` is where it goes, `plug` how it comes to a machine. Nothing: the next start
    /// has it.
    template <typename Device>
    Result<std::optional<PciDeviceInfo>> add(std::vector<Device> MachineConfig::* list, const Device& device,
                                             Result<pci::Bdf> (Machine::*plug)(const Device&));
    /// The helper disk with that id, as the VM has it.
    [[nodiscard]] Result<seed::Helper> helper(std::string_view id) const;
    /// Forgets what was kept for a device that is no more.
    void forget(std::string_view id);
    Result<> resize_cpus(std::uint32_t count);
    Result<> resize_balloon(std::uint64_t bytes);
    Result<> resize_memory(std::uint64_t bytes);
    [[nodiscard]] Error no_machine() const;

    struct Published {
        std::shared_ptr<const VmInfo> info;
        std::optional<VmState> state;
    };
    [[nodiscard]] Published published() const;

    boost::asio::io_context& io_;
    EventLog& events_;
    const Instance::Options options_;
    const Callbacks callbacks_;
    VmConfig sent_;  ///< what clients said, for vm.info
    Fds fds_;        ///< MachineConfig::nets name them by number
    MachineWindow window_;
    Job job_;
    std::atomic<std::uint64_t> watchdog_resets_{0};
    migration::Uuid uuid_{};
    std::string sealed_;        ///< why nobody may work on the VM, or ""
    mutable std::mutex mutex_;  ///< for `published_`
    Published published_;
    std::unique_ptr<Instance> instance_;
};

}  // namespace hako::api
