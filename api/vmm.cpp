#include "api/vmm.h"

#include <algorithm>
#include <random>
#include <utility>

#include "api/schema/refusal.h"
#include "migration/instance/images_record.h"
#include "vmm/base/log.h"

namespace hako::api {
namespace {

/// Why a machine ended, for those who follow events.
std::string_view reason(MachineEnd::Kind kind) {
    switch (kind) {
        case MachineEnd::Kind::kPowerOff:
            return "power-off";
        case MachineEnd::Kind::kReset:
            return "reset";
        case MachineEnd::Kind::kWatchdog:
            return "watchdog";
        case MachineEnd::Kind::kPanic:
            return "panic";
        case MachineEnd::Kind::kTripleFault:
            return "triple-fault";
        case MachineEnd::Kind::kKvmError:
            return "kvm-error";
    }
    return "";
}

migration::Uuid new_uuid() {
    std::random_device entropy;
    migration::Uuid uuid;
    for (std::byte& byte : uuid)
        byte = static_cast<std::byte>(entropy());
    return uuid;
}

std::unexpected<Error> no_vm() {
    return fail_missing("there is no VM: create one first");
}

template <typename Device>
void replace(std::vector<Device>& devices, Device device) {
    std::erase_if(devices, [&](const Device& other) { return other.id == device.id; });
    devices.push_back(std::move(device));
}

template <typename Config>
bool has(const std::vector<Config>& devices, std::string_view id) {
    return std::ranges::any_of(devices, [id](const Config& device) { return device.id == id; });
}

bool has_device(const MachineConfig& config, std::string_view id) {
    return has(config.disks, id) || has(config.nets, id) || has(config.consoles, id) ||
           has(config.helpers, id) || has(config.vsocks, id) || has(config.fs, id);
}

}  // namespace

Result<> Vmm::require_no_vm() const {
    if (instance_) return fail_state("there is a VM already, and a process has one only: delete it first");
    if (job_.active()) return fail_conflict("{}: wait for its end", job_.what());
    return {};
}

Result<> Vmm::create(VmConfig config, std::vector<Fd> fds, std::vector<seed::Helper> helpers) {
    HAKO_TRY(require_no_vm());
    return make(std::move(config), std::move(fds), std::move(helpers));
}

Result<> Vmm::make(VmConfig config, std::vector<Fd> fds, std::vector<seed::Helper> helpers) {
    name_devices(config);
    MachineConfig machine = HAKO_TRY(to_machine(config));
    for (seed::Helper& helper : helpers)
        machine.helpers.push_back(std::move(helper));
    Fds kept;
    auto next = fds.begin();
    for (std::size_t index = 0; index < config.net.size(); ++index) {
        const std::size_t count = config.net[index].num_fds.value_or(0);
        if (count == 0) continue;
        if (count > static_cast<std::size_t>(fds.end() - next))
            return fail_input("net[{}].num_fds: {} is more than the descriptors that came with the request",
                              index, count);
        std::vector<Fd> own(std::make_move_iterator(next),
                            std::make_move_iterator(next + static_cast<std::ptrdiff_t>(count)));
        next += static_cast<std::ptrdiff_t>(count);
        const json::Place body;
        const json::Place nets{.outer = &body, .name = "net"};
        machine.nets[index] =
            HAKO_TRY(to_machine(config.net[index], own, {.outer = &nets, .name = {}, .index = index}));
        kept.insert_or_assign(machine.nets[index].id, std::move(own));
    }
    if (next != fds.end())
        return fail_input("{} descriptors came with the request that no net[].num_fds speaks of",
                          fds.end() - next);
    HAKO_TRY(check_devices(machine));
    return make(std::move(machine), std::move(config), std::move(kept));
}

Result<> Vmm::create(MachineConfig config) {
    HAKO_TRY(require_no_vm());
    return make(std::move(config), VmConfig{}, {});
}

Result<> Vmm::make(MachineConfig machine, VmConfig sent, Fds fds) {
    InstanceEvents heard{.ended =
                             [this](const MachineEnd& end) {
                                 if (end.kind == MachineEnd::Kind::kPanic) events_.add("guest", "panic");
                                 tell("ended", {{"reason", std::string(reason(end.kind))}});
                                 callbacks_.ended(end);
                             },
                         .crash_kernel_loaded = [this] { events_.add("guest", "crash-loaded"); },
                         .watchdog_expired =
                             [this] {
                                 watchdog_resets_.fetch_add(1, std::memory_order_relaxed);
                                 events_.add("guest", "watchdog");
                             },
                         .rebooted =
                             [this] {
                                 tell("rebooting");
                                 tell("rebooted");
                             },
                         .reboot_failed =
                             [this](Error error) {
                                 tell("shutdown");
                                 callbacks_.reboot_failed(std::move(error));
                             },
                         .device_removed =
                             [this](const std::string& id) {
                                 forget(id);
                                 tell("device-removed", {{"id", id}});
                             },
                         .device_replaced = [this](const std::string& id) { device_replaced(id); },
                         .memory_removed = [this] { tell("resized"); },
                         .quit_typed = [this] { callbacks_.quit_typed(); }};
    instance_ = HAKO_TRY(Instance::create(io_, std::move(machine), options_, std::move(heard), window_));
    uuid_ = new_uuid();
    sent_ = std::move(sent);
    // The images have it all; nothing else keeps what may be secret.
    sent_.cloud_init.reset();
    sent_.helper_disks.clear();
    fds_ = std::move(fds);
    tell("created");
    return {};
}

Result<> Vmm::restore(VmConfig config, std::vector<Fd> fds, migration::SavedVm vm, Machine::Restored saved,
                      const Identity& identity) {
    HAKO_TRY(create(std::move(config), std::move(fds), std::move(vm.helpers)));
    instance_->next_config()->coming = std::move(vm.coming);
    Result<> restored = instance_->restore(std::move(saved));
    if (restored) restored = change_identity(identity);
    if (!restored) {
        HAKO_TRY(remove());
        return restored;
    }
    claim_images();
    tell("restored");
    return {};
}

Result<> Vmm::change_identity(const Identity& identity) {
    Machine* const machine = HAKO_TRY(instance_->machine());
    if (identity.seed) {
        const bool there = has(machine->config().helpers, seed::kSeedId);
        HAKO_TRY_WRAP(
            there ? machine->replace_helper(*identity.seed, false) : machine->add_helper(*identity.seed),
            "cloud_init");
    }
    for (const NewMac& mac : identity.macs)
        HAKO_TRY_WRAP(machine->replace_net(mac.id, mac.mac), "net");
    return {};
}

void Vmm::device_replaced(const std::string& id) {
    tell(has(instance_->config().nets, id) ? "net-updated" : "helper-updated", {{"id", id}});
}

Result<> Vmm::start_job(std::string what, std::function<void()> work, std::function<void()> cancel,
                        std::function<void()> ended) {
    Instance* const instance = HAKO_TRY(this->instance());
    instance->hold([this] { job_.cancel(); });
    job_.start(std::move(what), std::move(work), std::move(cancel), [this, ended = std::move(ended)] {
        ended();
        if (instance_) instance_->let_go();
    });
    return {};
}

Result<VmConfig> Vmm::config() const {
    Instance* const instance = HAKO_TRY(this->instance());
    return from_machine(instance->config(), sent_);
}

/// Whoever handed a VM with these images over, and waits to have it back, is to see that another has run
/// since.
void Vmm::claim_images() {
    if (const auto claimed = migration::claim_record(instance_->config(), uuid_); !claimed)
        log_warn("{}", claimed.error().text());
}

Result<Instance*> Vmm::begin_arrival(VmConfig config, std::vector<Fd> fds, const migration::Uuid& uuid) {
    if (instance_) return fail_state("there is a VM already");
    HAKO_TRY(make(std::move(config), std::move(fds), {}));
    uuid_ = uuid;
    instance_->hold([] {});
    return instance_.get();
}

void Vmm::end_arrival() {
    if (const auto ended = end(); !ended) log_error("{}", ended.error().text());
}

void Vmm::settle_arrival() {
    if (instance_) instance_->let_go();
}

Result<> Vmm::remove() {
    if (!instance_) return {};
    if (job_.active()) return fail_conflict("{}: wait for its end", job_.what());
    return end();
}

Result<> Vmm::end() {
    if (instance_->machine()) {
        HAKO_TRY(instance_->shut_down());
        tell("shutdown");
    }
    instance_.reset();
    sent_ = {};
    fds_.clear();
    sealed_.clear();
    tell("deleted");
    return {};
}

Result<Instance*> Vmm::instance() const {
    if (!instance_) return no_vm();
    if (job_.active()) return fail_conflict("{}: wait for its end", job_.what());
    if (!sealed_.empty()) return fail_conflict("{}", sealed_);
    return instance_.get();
}

Result<Machine*> Vmm::machine() const {
    Instance* const instance = HAKO_TRY(this->instance());
    return instance->machine();
}

Result<> Vmm::boot() {
    Instance* const instance = HAKO_TRY(this->instance());
    tell("booting");
    HAKO_TRY(instance->boot());
    claim_images();
    tell("booted");
    return {};
}

Result<> Vmm::pause() {
    Instance* const instance = HAKO_TRY(this->instance());
    HAKO_TRY(instance->pause());
    tell("paused");
    return {};
}

Result<> Vmm::resume() {
    Instance* const instance = HAKO_TRY(this->instance());
    HAKO_TRY(instance->resume());
    tell("resumed");
    return {};
}

Result<> Vmm::shut_down() {
    Instance* const instance = HAKO_TRY(this->instance());
    HAKO_TRY(instance->shut_down());
    tell("shutdown");
    return {};
}

Result<> Vmm::reboot() {
    Instance* const instance = HAKO_TRY(this->instance());
    const bool booted = instance->machine().has_value();
    if (booted) tell("rebooting");
    auto rebooted = instance->reboot();
    if (!rebooted && booted) tell("shutdown");
    HAKO_TRY(std::move(rebooted));
    tell("rebooted");
    return {};
}

Result<> Vmm::press_power_button() {
    Instance* const instance = HAKO_TRY(this->instance());
    return instance->press_power_button();
}

Result<> Vmm::inject_nmi() {
    Machine* const machine = HAKO_TRY(this->machine());
    return machine->inject_nmi();
}

Result<> Vmm::dump_core(const std::string& path) {
    Machine* const machine = HAKO_TRY(this->machine());
    HAKO_TRY(machine->dump_core(path));
    tell("dumped");
    return {};
}

Result<std::shared_ptr<const VmInfo>> Vmm::info() const {
    Published published = this->published();
    if (!published.info) return no_vm();
    const bool by_device = published.info->config.memory.hotplug_method == HotplugMethod::kVirtioMem;
    if (!published.info->config.balloon && !by_device) return std::move(published.info);
    // With what the guest has plugged, and without what it has given up by now.
    auto info = std::make_shared<VmInfo>(*published.info);
    window_.look([&](const Machine& machine) {
        if (by_device) info->memory_actual_size = machine.memory_bytes();
        machine.devices().for_each<virtio::balloon::BalloonDevice>([&](const auto& balloon) {
            info->memory_actual_size -= std::min(info->memory_actual_size, balloon.actual());
        });
    });
    return info;
}

std::optional<VmState> Vmm::state() const {
    return published().state;
}

Vmm::Published Vmm::published() const {
    const std::lock_guard lock(mutex_);
    return published_;
}

Error Vmm::no_machine() const {
    const std::optional<VmState> state = this->state();
    if (!state) return no_vm().error();
    if (*state == VmState::kCreated || *state == VmState::kShutdown)
        return wrong_state(*state, "booted").error();
    return fail_state("the VM is about to reboot or to end: try again").error();
}

void Vmm::publish() {
    Published now;
    if (instance_) {
        now.state = instance_->state();
        auto info = std::make_shared<VmInfo>();
        info->config = from_machine(instance_->config(), sent_);
        if (info->config.serial.mode == ConsoleMode::kPty)
            info->config.serial.file = instance_->serial_path();
        if (info->config.console.mode == ConsoleMode::kPty)
            info->config.console.file = instance_->console_path(kFirstConsole);
        for (VmAddConsole& console : info->config.consoles)
            if (console.mode == ConsoleMode::kPty) console.file = instance_->console_path(*console.id);
        // Cloud Hypervisor forgets, with the machine, that there was one.
        info->state = text(now.state == VmState::kShutdown ? VmState::kCreated : *now.state);
        const hako::MemoryConfig& memory = instance_->config().memory;
        info->memory_actual_size = memory.growth == MemoryGrowth::kVirtioMem ? memory.size : memory.total();
        for (const seed::Helper& helper : instance_->config().helpers) {
            if (!info->helper_disks) info->helper_disks.emplace();
            info->helper_disks->push_back(info_of(helper));
        }
        now.info = std::move(info);
    }
    const std::lock_guard lock(mutex_);
    published_ = std::move(now);
}

void Vmm::tell(std::string_view event, Event::Properties properties) {
    publish();
    events_.add("vm", event, std::move(properties));
}

Result<std::string> Vmm::choose_id(const std::optional<std::string>& given, std::string_view prefix) const {
    const Instance* const instance = HAKO_TRY(this->instance());
    const MachineConfig& config = instance->config();
    if (!given) return free_id(prefix, [&](std::string_view id) { return has_device(config, id); });
    HAKO_TRY(check_id({}, *given));
    if (has_device(config, *given)) return fail_conflict("the id {} is taken: choose another", *given);
    return *given;
}

template <typename Device>
Result<std::optional<PciDeviceInfo>> Vmm::add(std::vector<Device> MachineConfig::* list, const Device& device,
                                              Result<pci::Bdf> (Machine::*plug)(const Device&)) {
    MachineConfig next = instance_->config();
    (next.*list).push_back(device);
    HAKO_TRY(check_devices(next));
    std::optional<PciDeviceInfo> info;
    if (MachineConfig* const cold = instance_->next_config()) {
        *cold = std::move(next);
    } else {
        Machine* const machine = HAKO_TRY(instance_->machine());
        const pci::Bdf address = HAKO_TRY((machine->*plug)(device));
        info = PciDeviceInfo{.id = device.id, .bdf = address.text()};
    }
    return info;
}

Result<std::optional<PciDeviceInfo>> Vmm::add_disk(DiskConfig config) {
    config.id = HAKO_TRY(choose_id(config.id, "_disk"));
    const virtio::blk::Config disk = HAKO_TRY(to_machine(config));
    auto info = HAKO_TRY(add(&MachineConfig::disks, disk, &Machine::add_disk));
    replace(sent_.disks, std::move(config));
    tell("device-added", {{"id", disk.id}});
    return info;
}

Result<std::optional<PciDeviceInfo>> Vmm::add_net(NetConfig config, std::vector<Fd> fds) {
    config.id = HAKO_TRY(choose_id(config.id, "_net"));
    const virtio::net::Config net = HAKO_TRY(to_machine(config, fds));
    auto info = HAKO_TRY(add(&MachineConfig::nets, net, &Machine::add_net));
    // Wherever the VM goes on, it needs as many again.
    config.num_fds.reset();
    if (!fds.empty()) {
        config.num_fds = static_cast<std::uint16_t>(fds.size());
        fds_.insert_or_assign(net.id, std::move(fds));
    }
    replace(sent_.net, std::move(config));
    tell("device-added", {{"id", net.id}});
    return info;
}

Result<std::optional<PciDeviceInfo>> Vmm::add_console(VmAddConsole config) {
    config.id = HAKO_TRY(choose_id(config.id, "_console"));
    const virtio::console::Config console = HAKO_TRY(to_machine(config));
    auto info = HAKO_TRY(add(&MachineConfig::consoles, console, &Machine::add_console));
    tell("device-added", {{"id", console.id}});
    return info;
}

Result<std::optional<PciDeviceInfo>> Vmm::add_vsock(VsockConfig config) {
    config.id = HAKO_TRY(choose_id(config.id, "_vsock"));
    const virtio::vsock::Config vsock = HAKO_TRY(to_machine(config));
    if (instance_->config().vsocks.size() >= virtio::vsock::kMaxDevices)
        return fail_conflict("the VM has a vsock, {}: remove it first",
                             instance_->config().vsocks.front().id);
    auto info = HAKO_TRY(add(&MachineConfig::vsocks, vsock, &Machine::add_vsock));
    tell("device-added", {{"id", vsock.id}});
    return info;
}

Result<std::optional<PciDeviceInfo>> Vmm::add_fs(FsConfig config) {
    config.id = HAKO_TRY(choose_id(config.id, "_fs"));
    const virtio::fs::Config fs = HAKO_TRY(to_machine(config));
    auto info = HAKO_TRY(add(&MachineConfig::fs, fs, &Machine::add_fs));
    replace(sent_.fs, std::move(config));
    tell("device-added", {{"id", fs.id}});
    return info;
}

Result<> Vmm::remove_device(const VmRemoveDevice& removal) {
    Instance* const instance = HAKO_TRY(this->instance());
    const std::string& id = removal.id;
    if (MachineConfig* const cold = instance->next_config()) {
        if (!has_device(*cold, id)) return fail_missing("there is no device {}", id);
        instance->remove_from_next(id);
    } else {
        Machine* const machine = HAKO_TRY(instance->machine());
        if (!removal.force) return machine->request_removal(id);
        HAKO_TRY(machine->remove_now(id));
    }
    forget(id);
    tell("device-removed", {{"id", id}});
    return {};
}

Result<seed::Helper> Vmm::helper(std::string_view id) const {
    const Instance* const instance = HAKO_TRY(this->instance());
    const std::vector<seed::Helper>& helpers = instance->config().helpers;
    const auto found = std::ranges::find(helpers, id, &seed::Helper::id);
    if (found == helpers.end()) return fail_missing("there is no helper disk {}", id);
    return *found;
}

Result<> Vmm::eject_helper(const VmEjectHelper& wanted) {
    HAKO_TRY(helper(wanted.id));
    return remove_device({.id = wanted.id, .force = wanted.force});
}

Result<> Vmm::update_helper(const VmUpdateHelper& wanted) {
    const seed::Helper old = HAKO_TRY(helper(wanted.id));
    seed::Helper next = HAKO_TRY(to_machine(wanted, old));
    if (MachineConfig* const cold = instance_->next_config()) {
        seed::put_helper(cold->helpers, std::move(next));
    } else {
        Machine* const machine = HAKO_TRY(instance_->machine());
        HAKO_TRY(machine->replace_helper(std::move(next), wanted.force));
        if (!wanted.force) return {};
    }
    tell("helper-updated", {{"id", wanted.id}});
    return {};
}

Result<> Vmm::resize(const VmResize& wanted) {
    HAKO_TRY(this->instance());
    if (wanted.desired_vcpus) HAKO_TRY_WRAP(resize_cpus(*wanted.desired_vcpus), "desired_vcpus");
    if (wanted.desired_ram) HAKO_TRY_WRAP(resize_memory(*wanted.desired_ram), "desired_ram");
    if (wanted.desired_balloon) HAKO_TRY_WRAP(resize_balloon(*wanted.desired_balloon), "desired_balloon");
    tell("resized");
    return {};
}

Result<> Vmm::resize_memory(std::uint64_t bytes) {
    MachineConfig* const cold = instance_->next_config();
    if (cold == nullptr) {
        Machine* const machine = HAKO_TRY(instance_->machine());
        return machine->resize_memory(bytes);
    }
    if (cold->memory.growth == MemoryGrowth::kVirtioMem) {
        const hako::MemoryConfig next = HAKO_TRY(virtio::mem::resized(cold->memory, bytes));
        if (cold->balloon) HAKO_TRY(virtio::balloon::check(*cold->balloon, next));
        cold->memory = next;
        return {};
    }
    // As a client that creates the VM says it.
    VmConfig next = from_machine(*cold, sent_);
    next.memory.size = bytes;
    next.memory.boot_size.reset();
    const hako::MemoryConfig memory = HAKO_TRY(to_machine(next.memory));
    if (cold->balloon) HAKO_TRY(virtio::balloon::check(*cold->balloon, memory));
    cold->memory = memory;
    return {};
}

Result<> Vmm::resize_cpus(std::uint32_t count) {
    MachineConfig* const cold = instance_->next_config();
    if (cold == nullptr) {
        Machine* const machine = HAKO_TRY(instance_->machine());
        return machine->resize_cpus(count);
    }
    const std::uint32_t most = cold->cpus.most();
    if (count > most) return fail_input("the VM has from 1 to {} CPUs (its max_vcpus), not {}", most, count);
    cold->cpus = {.count = count, .max = most};
    return {};
}

Result<> Vmm::resize_balloon(std::uint64_t bytes) {
    MachineConfig* const cold = instance_->next_config();
    if (cold == nullptr) {
        Machine* const machine = HAKO_TRY(instance_->machine());
        return machine->resize_balloon(bytes);
    }
    if (!cold->balloon) return fail_input("the VM has no balloon");
    cold->balloon = HAKO_TRY(virtio::balloon::resized(*cold->balloon, bytes, cold->memory));
    return {};
}

Result<> Vmm::set_limits(const VmSetLimits& wanted) {
    Machine* const machine = HAKO_TRY(this->machine());
    HAKO_TRY(machine->set_limits(wanted.id, to_machine(wanted.rate_limiter_config)));
    for (DiskConfig& disk : sent_.disks)
        if (disk.id == wanted.id) disk.rate_limiter_config = wanted.rate_limiter_config;
    for (NetConfig& net : sent_.net)
        if (net.id == wanted.id) net.rate_limiter_config = wanted.rate_limiter_config;
    publish();
    return {};
}

void Vmm::forget(std::string_view id) {
    std::erase_if(sent_.disks, [id](const DiskConfig& disk) { return disk.id == id; });
    std::erase_if(sent_.net, [id](const NetConfig& net) { return net.id == id; });
    std::erase_if(sent_.fs, [id](const FsConfig& fs) { return fs.id == id; });
    if (const auto found = fds_.find(id); found != fds_.end()) fds_.erase(found);
}

}  // namespace hako::api
