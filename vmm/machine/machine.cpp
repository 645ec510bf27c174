#include "vmm/machine/machine.h"

#include <fcntl.h>

#include <algorithm>

#include "vmm/base/log.h"
#include "vmm/boot/acpi/tables.h"
#include "vmm/boot/loader.h"
#include "vmm/boot/reset_vector.h"
#include "vmm/machine/core_dump.h"
#include "vmm/memory/layout.h"

namespace hako {
namespace {

Result<> require_extensions(const kvm::System& system) {
    struct Extension {
        std::uint32_t capability;
        const char* name;
    };
    for (const auto& [capability, name] :
         {Extension{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"}, Extension{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
          Extension{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
          Extension{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
          Extension{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"}}) {
        if (system.extension(capability) == 0)
            return fail_host("this host's KVM lacks {} (`hako doctor` lists what hako needs)", name);
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<Machine>> Machine::create(MachineConfig config, HostResources resources,
                                                 const MachineHost& host, MachineListener& listener) {
    // The kernel first: what is wrong with the input is said before KVM is touched.
    GuestMemory memory = HAKO_TRY(GuestMemory::create(config.memory));
    const boot::BootState boot = HAKO_TRY(boot::load(memory, config.payload));
    const kvm::System system = HAKO_TRY(kvm::System::open());
    HAKO_TRY(require_extensions(system));
    kvm::Vm vm = HAKO_TRY(system.create_vm());
    HAKO_TRY(vm.set_tss_and_identity_map(layout::kTss, layout::kIdentityMap));
    HAKO_TRY(vm.create_irqchip());
    for (std::uint32_t slot = 0; const MemoryRegion& region : memory.regions())
        HAKO_TRY(vm.set_memory_slot(slot++, region.base.value, region.host, region.size, 0));

    std::unique_ptr<Machine> machine(
        new Machine(std::move(config), std::move(vm), std::move(memory), host, listener));
    HAKO_TRY(machine->build(system, boot, std::move(resources)));
    return machine;
}

Machine::Machine(MachineConfig config, kvm::Vm vm, GuestMemory memory, const MachineHost& host,
                 MachineListener& listener)
    : config_(std::move(config)),
      vm_(std::move(vm)),
      memory_(std::move(memory)),
      interrupts_(vm_),
      kicks_(vm_),
      pci_space_(mmio_, pci::windows_above(memory_.end())),
      host_(host),
      listener_(listener) {
    // Linux waits for a virtio device's status to become 0 after a reset, and for ever if the device is gone
    // and its registers read as ones. That it is gone its configuration space tells.
    const pci::Window& window = pci_space_.windows().high;
    mmio_.set_quiet(window.base, window.size);
}

Machine::~Machine() {
    stop();
}

Result<> Machine::build(const kvm::System& system, const boot::BootState& boot, HostResources resources) {
    console::Sink* const serial = host_.consoles.serial();
    platform_ = HAKO_TRY(Platform::create(pio_, interrupts_, *this, serial));
    bridge_ = HAKO_TRY(pci::HostBridge::create(pci_space_, pio_));
    devices_ = std::make_unique<Devices>(virtio::PciServices{memory_, pci_space_, interrupts_, kicks_},
                                         *bridge_, host_.engine);

    for (std::size_t i = 0; i < config_.disks.size(); ++i)
        HAKO_TRY_WRAP(devices_->add(config_.disks[i], std::move(resources.disks[i])), "disk {}",
                      config_.disks[i].id);
    for (const seed::Helper& helper : config_.helpers)
        HAKO_TRY(plug(helper));
    for (std::size_t i = 0; i < config_.nets.size(); ++i)
        HAKO_TRY_WRAP(devices_->add(config_.nets[i], std::move(resources.nets[i])), "network interface {}",
                      config_.nets[i].id);
    // After the others, so that they keep their PCI addresses with and without it.
    if (config_.rng) HAKO_TRY_WRAP(devices_->add(*config_.rng), "entropy device (--rng off leaves it out)");
    for (const virtio::console::Config& console : config_.consoles) {
        auto backends = HAKO_TRY_WRAP(host_.consoles.open(console), "console {}", console.id);
        HAKO_TRY_WRAP(devices_->add(console, std::move(backends)), "console {}", console.id);
    }

    const acpi::AcpiConfig acpi{
        .vcpus = config_.cpus.count, .ram_end = memory_.end(), .serial = serial != nullptr};
    HAKO_TRY(acpi::write_tables(memory_, acpi));
    HAKO_TRY(boot::write_reset_vector(memory_));

    const auto on_stop = [this](const VcpuStop& stop) {
        end(stop.kind == VcpuStop::Kind::kTripleFault ? MachineEnd::Kind::kTripleFault
                                                      : MachineEnd::Kind::kKvmError,
            stop.detail);
    };
    cpus_ = HAKO_TRY(Cpus::create(system, vm_, memory_, config_.cpus, boot, pio_, mmio_, on_stop));
    return {};
}

void Machine::resume() {
    devices_->resume();
    cpus_->resume();
    running_ = true;
}

void Machine::pause() {
    cpus_->pause();
    devices_->pause();
    running_ = false;
}

Machine::Legacy Machine::stop() {
    // vCPUs first: nobody but them calls the devices from the guest's side.
    cpus_.reset();
    running_ = false;
    Legacy legacy{.config = std::move(config_), .resources = {}};
    if (devices_) devices_->take_apart(legacy.resources, legacy.config.helpers);
    for (seed::Helper& helper : coming_)
        seed::put_helper(legacy.config.helpers, std::move(helper));
    coming_.clear();
    return legacy;
}

void Machine::refresh_disks() {
    devices_->for_each<virtio::blk::BlockDevice>([](virtio::blk::BlockDevice& disk) {
        if (const auto changed = disk.refresh_capacity(); !changed)
            log_warn("disk {}: {}", disk.id(), changed.error().text());
    });
}

Result<pci::Bdf> Machine::add_disk(const virtio::blk::Config& config) {
    if (devices_->has(config.id)) return fail_conflict("the id {} is taken: choose another", config.id);
    virtio::blk::Disk disk = HAKO_TRY_WRAP(virtio::blk::Disk::open(config), "disk {}", config.id);
    const pci::Bdf address = HAKO_TRY_WRAP(devices_->add(config, std::move(disk)), "disk {}", config.id);
    config_.disks.push_back(config);
    platform_->hotplug().inserted(address.device);
    return address;
}

Result<pci::Bdf> Machine::add_net(const virtio::net::Config& config) {
    if (devices_->has(config.id)) return fail_conflict("the id {} is taken: choose another", config.id);
    virtio::net::HostEnd end =
        HAKO_TRY_WRAP(virtio::net::HostEnd::open(config), "network interface {}", config.id);
    const pci::Bdf address =
        HAKO_TRY_WRAP(devices_->add(config, std::move(end)), "network interface {}", config.id);
    config_.nets.push_back(config);
    platform_->hotplug().inserted(address.device);
    return address;
}

Result<pci::Bdf> Machine::add_console(const virtio::console::Config& config) {
    if (devices_->has(config.id)) return fail_conflict("the id {} is taken: choose another", config.id);
    auto backends = HAKO_TRY_WRAP(host_.consoles.open(config), "console {}", config.id);
    Result<pci::Bdf> added = devices_->add(config, std::move(backends));
    if (!added) {
        host_.consoles.close(config.id);
        return std::unexpected(std::move(added).error().wrap(fmt::format("console {}", config.id)));
    }
    config_.consoles.push_back(config);
    platform_->hotplug().inserted(added->device);
    return added;
}

Result<pci::Bdf> Machine::plug(const seed::Helper& helper) {
    Fd image(::fcntl(helper.image->fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!image.valid()) return fail_errno(errno, "helper disk {}", helper.id);
    auto disk =
        HAKO_TRY(virtio::blk::Disk::adopt(std::move(image), fmt::format("of helper disk {}", helper.id)));
    virtio::blk::Config config;
    config.id = helper.id;
    config.serial = helper.serial;
    config.readonly = true;
    return HAKO_TRY_WRAP(devices_->add(config, std::move(disk)), "helper disk {}", helper.id);
}

/// While the guest runs.
Result<> Machine::plug_later(const seed::Helper& helper) {
    const pci::Bdf address = HAKO_TRY(plug(helper));
    seed::put_helper(config_.helpers, helper);
    platform_->hotplug().inserted(address.device);
    return {};
}

Result<> Machine::replace_helper(seed::Helper helper, bool force) {
    if (std::ranges::find(config_.helpers, helper.id, &seed::Helper::id) == config_.helpers.end())
        return fail_missing("there is no helper disk {}", helper.id);
    if (force) {
        HAKO_TRY(remove_now(helper.id));
        return plug_later(helper);
    }
    const pci::Bdf address = HAKO_TRY(removable(helper.id));
    seed::put_helper(coming_, std::move(helper));
    ask_to_eject(address.device);
    return {};
}

Result<pci::Bdf> Machine::removable(const std::string& id) const {
    const pci::Bdf address = HAKO_TRY(devices_->address(id));
    if (config_.rng && id == config_.rng->id)
        return fail_input(
            "device {} stays for the life of the VM: only disks, nets and consoles can be removed", id);
    return address;
}

Result<> Machine::request_removal(const std::string& id) {
    const pci::Bdf address = HAKO_TRY(removable(id));
    std::erase_if(coming_, [&](const seed::Helper& helper) { return helper.id == id; });
    ask_to_eject(address.device);
    return {};
}

Result<> Machine::remove_now(const std::string& id) {
    const pci::Bdf address = HAKO_TRY(removable(id));
    std::erase_if(coming_, [&](const seed::Helper& helper) { return helper.id == id; });
    if (devices_->find<virtio::blk::BlockDevice>(id) != nullptr) {
        with_vcpus_parked([&] { devices_->disown(id); });
        forget(id);
        ask_to_eject(address.device);
        return {};
    }
    take_out(address.device);
    platform_->hotplug().gone(address.device);
    return {};
}

void Machine::ask_to_eject(std::uint8_t slot) {
    leaving_ |= std::uint32_t{1} << slot;
    platform_->hotplug().ask_to_eject(slot);
}

Result<> Machine::set_link(const std::string& id, bool up) {
    HAKO_TRY(devices_->address(id));
    auto* const net = devices_->find<virtio::net::NetDevice>(id);
    if (net == nullptr) return fail_input("device {} has no link: name a network interface", id);
    net->set_link(up);
    return {};
}

Result<> Machine::set_limits(const std::string& id, const io::RateLimits& limits) {
    HAKO_TRY(devices_->address(id));
    if (auto* const disk = devices_->find<virtio::blk::BlockDevice>(id)) {
        disk->set_limits(limits);
    } else if (auto* const net = devices_->find<virtio::net::NetDevice>(id)) {
        HAKO_TRY(net->set_limits({.rx = limits, .tx = limits}));
    } else {
        return fail_input("device {} has no limits to change: name a disk or a network interface", id);
    }
    for (virtio::blk::Config& disk : config_.disks)
        if (disk.id == id) disk.limits = limits;
    for (virtio::net::Config& net : config_.nets)
        if (net.id == id) net.limits = {.rx = limits, .tx = limits};
    return {};
}

void Machine::announce() {
    devices_->for_each<virtio::net::NetDevice>([](virtio::net::NetDevice& net) { net.announce(); });
}

Result<> Machine::resize_disk(const std::string& id, std::uint64_t bytes) {
    HAKO_TRY(devices_->address(id));
    auto* const disk = devices_->find<virtio::blk::BlockDevice>(id);
    if (disk == nullptr) return fail_input("device {} has no size: name a disk", id);
    HAKO_TRY(disk->disk().grow(bytes));
    HAKO_TRY(disk->refresh_capacity());
    return {};
}

Result<> Machine::inject_nmi() {
    // Intel SDM volume 3, 11.11: a message to one local APIC, delivery mode NMI.
    constexpr std::uint32_t kDeliverNmi = 0x400;
    for (std::uint32_t cpu = 0; cpu < config_.cpus.count; ++cpu)
        HAKO_TRY(vm_.signal_msi(layout::kLocalApic | std::uint64_t{cpu} << 12, kDeliverNmi));
    return {};
}

Result<> Machine::dump_core(const std::string& path) {
    const bool was_running = running_;
    if (was_running) pause();
    const auto registers = cpus_->registers();
    Result<> written;
    if (registers)
        written = write_core(path, memory_, *registers);
    else
        written = std::unexpected(registers.error());
    if (was_running) resume();
    return written;
}

bool Machine::finish_removal(std::uint8_t slot) {
    // The news may have been on its way while the device was removed otherwise, or the machine rebooted.
    if (slot >= pci::kSlots || (leaving_ >> slot & 1) == 0) return false;
    const std::string id = devices_->id_at(slot);
    take_out(slot);
    const auto next = std::ranges::find(coming_, id, &seed::Helper::id);
    if (id.empty() || next == coming_.end()) return false;
    const seed::Helper helper = std::move(*next);
    coming_.erase(next);
    const auto plugged = plug_later(helper);
    if (!plugged) log_error("{}", plugged.error().text());
    return plugged.has_value();
}

void Machine::take_out(std::uint8_t slot) {
    const std::string id = devices_->id_at(slot);
    leaving_ &= ~(std::uint32_t{1} << slot);
    with_vcpus_parked([&] { devices_->remove(slot); });
    if (!id.empty()) forget(id);
}

/// A vCPU may be anywhere in a device's registers. Removals are rare, so all of them step aside.
template <typename Work>
void Machine::with_vcpus_parked(Work work) {
    if (running_) cpus_->pause();
    work();
    if (running_) cpus_->resume();
}

void Machine::forget(const std::string& id) {
    std::erase_if(config_.disks, [&](const auto& disk) { return disk.id == id; });
    std::erase_if(config_.nets, [&](const auto& net) { return net.id == id; });
    std::erase_if(config_.helpers, [&](const auto& helper) { return helper.id == id; });
    if (std::erase_if(config_.consoles, [&](const auto& console) { return console.id == id; }) > 0)
        host_.consoles.close(id);
    log_info("device {} is removed", id);
}

void Machine::end(MachineEnd::Kind kind, std::string detail) {
    // A guest may repeat itself and several vCPUs may stop at once: the first tells how it ended.
    if (!ended_.exchange(true)) listener_.machine_ended({kind, std::move(detail)});
}

}  // namespace hako
