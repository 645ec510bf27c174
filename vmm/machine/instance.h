// The VM of this process over all its lives: what a command line or an API client drives.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/io/engine.h"
#include "vmm/machine/config.h"
#include "vmm/machine/consoles.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/machine_window.h"

namespace hako {

enum class VmState {
    kCreated,   ///< configured, never booted
    kRunning,   ///< vCPUs run
    kPaused,    ///< vCPUs are parked, devices drained
    kShutdown,  ///< was booted, is not any more
};

/// Who hears of what happens to the VM. On the control thread.
struct InstanceEvents {
    /// The guest ended its machine, which still stands, stopped in its tracks. Not called for a reboot that
    /// is carried out.
    std::function<void(const MachineEnd&)> ended;
    /// The guest's kernel panicked and goes on into its crash kernel.
    std::function<void()> crash_kernel_loaded;
    /// The guest's watchdog has run out; what a guest's wish to reboot brings follows.
    std::function<void()> watchdog_expired;
    /// The guest or its watchdog asked for a reboot, and it was carried out.
    std::function<void()> rebooted;
    /// A reboot could not be carried out; the VM is shut down.
    std::function<void(Error)> reboot_failed;
    /// The guest has let go of a device, which is gone now.
    std::function<void(const std::string& id)> device_removed;
    /// The guest has let go of a device, and sees the one that was to come in its place: a helper disk with
    /// new content (Machine::replace_helper()), an interface with another address (Machine::replace_net()).
    std::function<void(const std::string& id)> device_replaced;
    /// The guest has let go of memory, which is gone now.
    std::function<void()> memory_removed;
    /// The user typed Ctrl-A x on the terminal.
    std::function<void()> quit_typed;
};

/// Belongs to the control thread, which runs `io`. `io` and `window` outlive it.
class Instance final : private MachineListener {
  public:
    struct Options {
        /// Carry out the wish to reboot of guest and watchdog; otherwise InstanceEvents::ended.
        bool reboot = true;
        DirtyLogMode dirty_log = DirtyLogMode::kInitiallySet;  ///< if this host has it
    };

    /// Starts the io thread and opens the host ends of the consoles; all else waits for boot(). `window`:
    /// where other threads are to see the machine.
    static Result<std::unique_ptr<Instance>> create(boost::asio::io_context& io, MachineConfig config,
                                                    const Options& options, InstanceEvents events,
                                                    MachineWindow& window);
    ~Instance() override;

    /// Opens images and taps, builds the machine and starts it. From kCreated and kShutdown.
    Result<> boot();
    /// The same, but the machine goes on from what was saved, and is paused. From kCreated and kShutdown.
    Result<> restore(Machine::Restored saved);
    /// The same on a chassis that was built of config().
    Result<> restore(const MachineState& state, Chassis chassis);
    /// From kRunning.
    Result<> pause();
    /// From kPaused.
    Result<> resume();
    /// From kRunning: as pause(), and waits for nobody. vCPUs leave the guest as soon as they can, devices
    /// are not drained: no state may be read. Only go_on() ends it.
    Result<> halt();
    Result<> go_on();
    /// Ends the machine without asking the guest; images and taps are given back. From kRunning and kPaused.
    Result<> shut_down();
    /// The same configuration in a new machine. From kRunning and kPaused.
    Result<> reboot();
    /// Asks the guest to power off. From kRunning.
    Result<> press_power_button();

    [[nodiscard]] VmState state() const { return state_; }
    /// What a chassis for restore() is built with.
    [[nodiscard]] DirtyLogMode dirty_log() const { return options_.dirty_log; }
    /// As the machine is now, or will be at the next boot.
    [[nodiscard]] const MachineConfig& config() const { return machine_ ? machine_->config() : config_; }
    /// The machine to work on, or a Fault::kState that tells the state.
    [[nodiscard]] Result<Machine*> machine() const;
    /// The configuration of the next boot, to be changed; null while there is a machine. Its serial port
    /// stays.
    [[nodiscard]] MachineConfig* next_config() { return machine_ ? nullptr : &config_; }
    /// Takes a device out of it. There is no machine.
    void remove_from_next(std::string_view id);
    /// Where the serial port goes: see console::Backend::path().
    [[nodiscard]] const std::string& serial_path() const { return consoles_->serial_path(); }
    /// From now on the machine stands as it is for somebody else: what it says itself (its end, ejections)
    /// waits for let_go(). `on_end` is called at once when it has ended.
    void hold(std::function<void()> on_end);
    /// Carries out what waited.
    void let_go();
    [[nodiscard]] bool held() const { return on_end_while_held_ != nullptr; }
    /// Where a virtio console goes, or "".
    [[nodiscard]] std::string console_path(std::string_view id) const { return consoles_->path(id); }

  private:
    Instance(boost::asio::io_context& io, MachineConfig config, const Options& options, InstanceEvents events,
             MachineWindow& window)
        : io_(io),
          options_(options),
          events_(std::move(events)),
          window_(window),
          config_(std::move(config)) {}

    // MachineListener, on vCPU threads.
    void machine_ended(const MachineEnd& end) override;
    void crash_kernel_loaded() override;
    void slot_ejected(pci::Bdf address) override;
    void cpu_ejected(std::uint32_t cpu) override;
    void memory_ejected(unsigned piece) override;

    template <typename Action>
    void post(Action action);
    [[nodiscard]] MachineHost host() {
        return {.engine = *engine_, .consoles = *consoles_, .dirty_log = options_.dirty_log};
    }
    void handle_end(const MachineEnd& end);
    void handle_ejection(pci::Bdf address);
    Result<> adopt(Result<std::unique_ptr<Machine>> made);
    Result<> start(HostResources resources);
    HostResources end_life();

    boost::asio::io_context& io_;
    const Options options_;
    const InstanceEvents events_;
    MachineWindow& window_;
    MachineConfig config_;                ///< while there is no machine
    std::unique_ptr<io::Engine> engine_;  ///< of all lives
    std::unique_ptr<Consoles> consoles_;  ///< outlives the machine, which writes into it
    std::unique_ptr<Machine> machine_;
    VmState state_ = VmState::kCreated;
    /// Which machine it is; what a machine before said does not count any more.
    unsigned life_ = 0;
    std::function<void()> on_end_while_held_;     ///< not null while it is held
    std::vector<std::function<void()>> waiting_;  ///< for let_go()
    /// What was posted to `io_` holds it weakly: it may run after the destructor.
    const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

[[nodiscard]] std::string_view text(VmState state);
/// `wanted`: what the VM must be instead.
[[nodiscard]] std::unexpected<Error> wrong_state(VmState state, std::string_view wanted);

}  // namespace hako
