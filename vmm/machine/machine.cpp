#include "vmm/machine/machine.h"

#include "vmm/base/log.h"
#include "vmm/boot/acpi/tables.h"
#include "vmm/boot/loader.h"
#include "vmm/boot/reset_vector.h"
#include "vmm/memory/layout.h"

namespace hako {
namespace {

/// The id of the seed's disk; the user's ids do not start with two underscores.
constexpr const char* kSeedId = "__seed";

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

Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config, HostResources resources,
                                                 console::Sink* serial,
                                                 std::function<void(const MachineEnd&)> on_end) {
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

    std::unique_ptr<Machine> machine(new Machine(std::move(vm), std::move(memory), std::move(on_end)));
    HAKO_TRY(machine->build(system, config, boot, std::move(resources), serial));
    return machine;
}

Machine::Machine(kvm::Vm vm, GuestMemory memory, std::function<void(const MachineEnd&)> on_end)
    : vm_(std::move(vm)),
      memory_(std::move(memory)),
      interrupts_(vm_),
      kicks_(vm_),
      pci_space_(mmio_, pci::windows_above(memory_.end())),
      on_end_(std::move(on_end)) {}

Machine::~Machine() {
    stop();
}

Result<> Machine::build(const kvm::System& system, const MachineConfig& config, const boot::BootState& boot,
                        HostResources resources, console::Sink* serial) {
    platform_ = HAKO_TRY(Platform::create(pio_, interrupts_, *this, serial));
    bridge_ = HAKO_TRY(pci::HostBridge::create(pci_space_, pio_));

    for (std::size_t i = 0; i < config.disks.size(); ++i)
        HAKO_TRY_WRAP(add_block(config.disks[i], std::move(resources.disks[i])), "disk {}",
                      config.disks[i].id);
    if (resources.seed) {
        virtio::blk::Config seed;
        seed.id = kSeedId;
        seed.serial = "cidata";
        seed.readonly = true;
        HAKO_TRY_WRAP(add_block(seed, std::move(*resources.seed)), "cloud-init seed");
        has_seed_ = true;
    }

    for (std::size_t i = 0; i < config.nets.size(); ++i)
        HAKO_TRY_WRAP(add_net(config.nets[i], std::move(resources.nets[i])), "network interface {}",
                      config.nets[i].id);
    // Last, so that the others keep their PCI addresses with and without it.
    if (config.rng) HAKO_TRY_WRAP(add_rng(*config.rng), "entropy device (--rng off leaves it out)");

    const acpi::AcpiConfig acpi{
        .vcpus = config.cpus.count, .ram_end = memory_.end(), .serial = serial != nullptr};
    HAKO_TRY(acpi::write_tables(memory_, acpi));
    HAKO_TRY(boot::write_reset_vector(memory_));

    const auto on_stop = [this](const VcpuStop& stop) {
        end(stop.kind == VcpuStop::Kind::kTripleFault ? MachineEnd::Kind::kTripleFault
                                                      : MachineEnd::Kind::kKvmError,
            stop.detail);
    };
    cpus_ = HAKO_TRY(Cpus::create(system, vm_, memory_, config.cpus, boot, pio_, mmio_, on_stop));
    return {};
}

Result<> Machine::add_block(const virtio::blk::Config& config, virtio::blk::Disk disk) {
    io::Engine* const io = HAKO_TRY(engine());
    auto device = HAKO_TRY(virtio::blk::BlockDevice::create(config, std::move(disk), *io));
    virtio::blk::BlockDevice* const block = device.get();
    Slot slot = HAKO_TRY(plug(config.id, std::move(device)));
    blocks_.push_back({std::move(slot), block});
    return {};
}

Result<> Machine::add_net(const virtio::net::Config& config, std::vector<virtio::net::Tap> taps) {
    io::Engine* const io = HAKO_TRY(engine());
    auto device = HAKO_TRY(virtio::net::NetDevice::create(config, std::move(taps), *io));
    virtio::net::NetDevice* const net = device.get();
    Slot slot = HAKO_TRY(plug(config.id, std::move(device)));
    nets_.push_back({std::move(slot), net});
    return {};
}

Result<> Machine::add_rng(const virtio::rng::Config& config) {
    io::Engine* const io = HAKO_TRY(engine());
    auto device = HAKO_TRY(virtio::rng::EntropyDevice::create(config, *io));
    rng_ = HAKO_TRY(plug(config.id, std::move(device)));
    return {};
}

Result<io::Engine*> Machine::engine() {
    if (!engine_) engine_ = HAKO_TRY(io::Engine::create());
    return engine_.get();
}

Result<Machine::Slot> Machine::plug(const std::string& id, std::unique_ptr<virtio::Device> device) {
    const virtio::PciServices services{memory_, pci_space_, interrupts_, kicks_};
    auto transport = HAKO_TRY(virtio::PciTransport::create(id, std::move(device), services));
    const pci::Bdf address = HAKO_TRY(bridge_->add(*transport));
    return Slot{std::move(transport), address};
}

/// The guest is done with the device: nothing of it is in flight afterwards.
void Machine::unplug(Slot& slot) {
    if (const auto removed = bridge_->remove(slot.address); !removed) log_error("{}", removed.error().text());
    slot.transport->device().reset();
}

void Machine::resume() {
    for (const BlockSlot& slot : blocks_)
        slot.transport->resume();
    for (const NetSlot& slot : nets_)
        slot.transport->resume();
    if (rng_) rng_->transport->resume();
    cpus_->resume();
}

void Machine::pause() {
    cpus_->pause();
    for (const BlockSlot& slot : blocks_)
        slot.transport->pause();
    for (const NetSlot& slot : nets_)
        slot.transport->pause();
    if (rng_) rng_->transport->pause();
}

HostResources Machine::stop() {
    // vCPUs first: nobody but them calls the devices from the guest's side.
    cpus_.reset();
    HostResources resources;
    for (BlockSlot& slot : blocks_) {
        unplug(slot);
        if (has_seed_ && &slot == &blocks_.back()) {
            resources.seed = std::move(slot.device->disk());
        } else {
            resources.disks.push_back(std::move(slot.device->disk()));
        }
        slot.transport.reset();
    }
    blocks_.clear();
    for (NetSlot& slot : nets_) {
        unplug(slot);
        resources.nets.push_back(std::move(slot.device->taps()));
        slot.transport.reset();
    }
    nets_.clear();
    if (rng_) unplug(*rng_);
    rng_.reset();
    return resources;
}

void Machine::refresh_disks() {
    for (const BlockSlot& slot : blocks_) {
        if (const auto changed = slot.device->refresh_capacity(); !changed)
            log_warn("disk {}: {}", slot.device->id(), changed.error().text());
    }
}

void Machine::end(MachineEnd::Kind kind, std::string detail) {
    // A guest may repeat itself and several vCPUs may stop at once: the first tells how it ended.
    if (!ended_.exchange(true)) on_end_({kind, std::move(detail)});
}

}  // namespace hako
