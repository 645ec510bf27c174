#include "vmm/machine/instance.h"

#include <time.h>

#include <boost/asio/post.hpp>

#include "vmm/base/log.h"

namespace hako {
namespace {

/// Moments on a clock that all processes of a host share: before any vCPU runs, and after the last one has.
void log_moment(std::string_view what) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    log_info("vCPUs {} at {}.{:09} (CLOCK_MONOTONIC)", what, now.tv_sec, now.tv_nsec);
}

}  // namespace

std::string_view text(VmState state) {
    switch (state) {
        case VmState::kCreated:
            return "Created";
        case VmState::kRunning:
            return "Running";
        case VmState::kPaused:
            return "Paused";
        case VmState::kShutdown:
            return "Shutdown";
    }
    return "";
}

std::unexpected<Error> wrong_state(VmState state, std::string_view wanted) {
    return fail_state("the VM is {}, it must be {} for this", text(state), wanted);
}

Result<std::unique_ptr<Instance>> Instance::create(boost::asio::io_context& io, MachineConfig config,
                                                   const Options& options, InstanceEvents events,
                                                   MachineWindow& window) {
    std::unique_ptr<Instance> instance(
        new Instance(io, std::move(config), options, std::move(events), window));
    instance->engine_ = HAKO_TRY(io::Engine::create());
    instance->consoles_ =
        std::make_unique<Consoles>(io, *instance->engine_, [quit = instance->events_.quit_typed] { quit(); });
    HAKO_TRY_WRAP(instance->consoles_->open_serial(instance->config_.serial), "serial port");
    for (const virtio::console::Config& console : instance->config_.consoles)
        HAKO_TRY_WRAP(instance->consoles_->open(console), "console {}", console.id);
    return instance;
}

Instance::~Instance() {
    end_life();
}

Result<> Instance::boot() {
    if (machine_) return wrong_state(state_, "not booted");
    HostResources resources = HAKO_TRY(HostResources::open(config_));
    return start(std::move(resources));
}

Result<> Instance::restore(Machine::Restored saved) {
    if (machine_) return wrong_state(state_, "not booted");
    HostResources resources = HAKO_TRY(HostResources::open(config_));
    ++life_;
    HAKO_TRY(adopt(Machine::create(config_, std::move(resources), host(), *this, std::move(saved))));
    state_ = VmState::kPaused;
    return {};
}

Result<> Instance::restore(const MachineState& state, Chassis chassis) {
    if (machine_) return wrong_state(state_, "not booted");
    ++life_;
    HAKO_TRY(
        adopt(Machine::create(config_, std::move(chassis), host(), *this, state, kvm::Downtime::kCounts)));
    state_ = VmState::kPaused;
    return {};
}

Result<> Instance::adopt(Result<std::unique_ptr<Machine>> made) {
    machine_ = HAKO_TRY(std::move(made));
    window_.open(*machine_);
    // An image that the machine drops shall be gone.
    config_.helpers.clear();
    config_.coming = {};
    if (machine_->serial() != nullptr) consoles_->serial()->start(*machine_->serial());
    return {};
}

Result<> Instance::start(HostResources resources) {
    ++life_;
    HAKO_TRY(adopt(Machine::create(config_, std::move(resources), host(), *this)));
    log_moment("start");
    machine_->resume();
    state_ = VmState::kRunning;
    return {};
}

/// Stops the machine, then the console, so that the guest's last bytes come out and the terminal is given
/// back before anybody says anything on it.
HostResources Instance::end_life() {
    HostResources resources;
    if (machine_) {
        window_.close();
        Machine::Legacy legacy = machine_->stop();
        log_moment("stand still");
        config_ = std::move(legacy.config);
        resources = std::move(legacy.resources);
        state_ = VmState::kShutdown;
    }
    if (consoles_ && consoles_->serial() != nullptr) consoles_->serial()->stop();
    machine_.reset();
    return resources;
}

void Instance::remove_from_next(std::string_view id) {
    const auto named = [id](const auto& device) { return device.id == id; };
    std::erase_if(config_.disks, named);
    std::erase_if(config_.nets, named);
    std::erase_if(config_.helpers, named);
    std::erase_if(config_.vsocks, named);
    std::erase_if(config_.fs, named);
    if (std::erase_if(config_.consoles, named) > 0) consoles_->close(id);
}

Result<> Instance::pause() {
    if (state_ != VmState::kRunning) return wrong_state(state_, "running");
    machine_->pause();
    log_moment("stand still");
    state_ = VmState::kPaused;
    return {};
}

Result<> Instance::resume() {
    if (state_ != VmState::kPaused) return wrong_state(state_, "paused");
    log_moment("start");
    machine_->resume();
    state_ = VmState::kRunning;
    return {};
}

Result<> Instance::halt() {
    if (state_ != VmState::kRunning) return wrong_state(state_, "running");
    machine_->halt();
    state_ = VmState::kPaused;
    return {};
}

Result<> Instance::go_on() {
    if (state_ != VmState::kPaused) return wrong_state(state_, "paused");
    machine_->go_on();
    state_ = VmState::kRunning;
    return {};
}

Result<> Instance::shut_down() {
    if (!machine_) return wrong_state(state_, "booted");
    end_life();
    return {};
}

Result<> Instance::reboot() {
    if (!machine_) return wrong_state(state_, "booted");
    log_info("the machine reboots");
    // Images stay locked and taps open, so that nobody takes them in between.
    return start(end_life());
}

Result<> Instance::press_power_button() {
    if (state_ != VmState::kRunning) return wrong_state(state_, "running");
    machine_->press_power_button();
    return {};
}

Result<Machine*> Instance::machine() const {
    if (!machine_) return wrong_state(state_, "booted");
    return machine_.get();
}

/// From a vCPU's thread to the control thread, where `action` runs if this life still lasts by then.
template <typename Action>
void Instance::post(Action action) {
    boost::asio::post(
        io_, [this, alive = std::weak_ptr(alive_), life = life_, action = std::move(action)]() mutable {
            if (alive.expired() || life != life_ || !machine_) return;
            if (held()) {
                waiting_.emplace_back(std::move(action));
            } else {
                action();
            }
        });
}

void Instance::hold(std::function<void()> on_end) {
    on_end_while_held_ = std::move(on_end);
}

void Instance::let_go() {
    on_end_while_held_ = nullptr;
    for (const auto& action : std::exchange(waiting_, {}))
        if (machine_) action();
}

void Instance::machine_ended(const MachineEnd& end) {
    // Not an action: those wait while the machine is held.
    boost::asio::post(io_, [this, alive = std::weak_ptr(alive_)] {
        if (!alive.expired() && held()) on_end_while_held_();
    });
    post([this, end] { handle_end(end); });
}

void Instance::slot_ejected(pci::Bdf address) {
    post([this, address] { handle_ejection(address); });
}

void Instance::crash_kernel_loaded() {
    post([this] { events_.crash_kernel_loaded(); });
}

void Instance::cpu_ejected(std::uint32_t cpu) {
    post([this, cpu] { machine_->finish_cpu_removal(cpu); });
}

void Instance::memory_ejected(unsigned piece) {
    post([this, piece] {
        if (machine_->finish_memory_removal(piece)) events_.memory_removed();
    });
}

void Instance::handle_end(const MachineEnd& end) {
    const bool expired = end.kind == MachineEnd::Kind::kWatchdog;
    if (expired) {
        log_warn("the guest did not reload its watchdog in time");
        events_.watchdog_expired();
    }
    if ((!expired && end.kind != MachineEnd::Kind::kReset) || !options_.reboot) return events_.ended(end);
    if (auto started = reboot(); !started)
        return events_.reboot_failed(std::move(started).error().wrap("reboot"));
    events_.rebooted();
}

void Instance::handle_ejection(pci::Bdf address) {
    const std::string id = machine_->devices().id_at(address);
    if (machine_->finish_removal(address)) return events_.device_replaced(id);
    if (!id.empty() && !machine_->devices().has(id)) events_.device_removed(id);
}

}  // namespace hako
