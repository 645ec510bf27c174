#include "vmm/machine/machine.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <ranges>
#include <span>
#include <utility>

#include "vmm/base/log.h"
#include "vmm/boot/acpi/tables.h"
#include "vmm/boot/loader.h"
#include "vmm/boot/reset_vector.h"
#include "vmm/machine/core_dump.h"
#include "vmm/machine/cpu_compat.h"
#include "vmm/memory/layout.h"

namespace hako {
namespace {

/// Bits of the units from 0 on, 64 at most.
std::uint64_t first_units(std::size_t count) {
    return count == 0 ? 0 : ~std::uint64_t{0} >> (64 - count);
}

/// CPUs beyond those of the configuration are on their way out, if there are any.
Result<> check_cpu_set(const CpuConfig& config, const MachineState& state) {
    std::uint64_t saved = 0;
    for (const kvm::VcpuState& cpu : state.cpus)
        if (cpu.id < config.most()) saved |= std::uint64_t{1} << cpu.id;
    const auto& hotplug = state.platform.cpu_hotplug;
    const std::uint64_t wanted = first_units(config.count);
    const std::uint64_t on_their_way = hotplug ? hotplug->asked & ~wanted : 0;
    if (static_cast<std::size_t>(std::popcount(saved)) != state.cpus.size() || (wanted & ~saved) != 0 ||
        (saved & ~wanted & ~on_their_way) != 0)
        return fail_input("{} vCPUs were saved, the machine has {}", state.facts.vcpus, config.count);
    if (hotplug && hotplug->enabled != saved)
        return fail_input("the state has other vCPUs than its guest was told of");
    return {};
}

/// The pieces lie one behind the other, and the last ends where what is plugged ends.
Result<> check_pieces(const MemoryConfig& config, const acpi_pm::MemoryHotplugState& hotplug) {
    const std::uint64_t room = layout::memory_room(config.size);
    std::uint64_t end = room + config.plugged;
    for (const acpi_pm::MemoryPiece& piece : std::views::reverse(hotplug.pieces)) {
        if (piece.size == 0 || !is_aligned(piece.size, layout::kMemoryUnit) || piece.size > end - room ||
            piece.address != end - piece.size)
            return fail_input("a piece of memory was saved at {:#x} that the machine does not have there",
                              piece.address);
        end = piece.address;
    }
    if ((hotplug.units.enabled & ~first_units(hotplug.pieces.size())) != 0)
        return fail_input("more pieces of memory were saved as plugged than there are");
    return {};
}

bool grows_by_acpi(const MemoryConfig& memory) {
    return memory.room > 0 && memory.growth == MemoryGrowth::kAcpi;
}

/// What memory grows by, at least.
std::uint64_t memory_step(const MemoryConfig& memory) {
    return std::max(layout::kMemoryUnit, memory.hugepages ? memory.hugepage_size : 0);
}

/// How many of the pieces stay where `plugged` bytes are to be left. Those behind go, the last first.
Result<std::size_t> staying_pieces(const MemoryConfig& memory, const acpi_pm::MemoryHotplugState& hotplug,
                                   std::uint64_t plugged) {
    std::uint64_t left = memory.plugged;
    std::size_t staying = hotplug.pieces.size();
    while (staying > 0 && left > plugged && left - plugged >= hotplug.pieces[staying - 1].size)
        left -= hotplug.pieces[--staying].size;
    if (left > plugged)
        return fail_input("memory goes in the pieces that it came in: the guest can have {}, not {}",
                          format_size(memory.size + left), format_size(memory.size + plugged));
    return staying;
}

/// A state is for the machine that it was taken of.
Result<> check_shape(const MachineConfig& config, const MachineState& state, const GuestMemory& memory) {
    HAKO_TRY(check_cpu_set(config.cpus, state));
    if (state.platform.memory_hotplug && config.memory.growth == MemoryGrowth::kVirtioMem)
        return fail_input("memory that grows by ACPI was saved, the machine's has a device for it");
    if (state.platform.memory_hotplug) HAKO_TRY(check_pieces(config.memory, *state.platform.memory_hotplug));
    const std::uint64_t bytes = config.memory.mapped();
    if (state.facts.memory != bytes || memory.size() != bytes)
        return fail_input("{} of memory were saved, the machine has {}", format_size(state.facts.memory),
                          format_size(bytes));
    const auto is_there = [](const auto& devices, const std::string& id) {
        return std::ranges::any_of(devices, [&](const auto& device) { return device.id == id; });
    };
    for (const seed::Helper& helper : config.coming.helpers)
        if (!is_there(config.helpers, helper.id))
            return fail_input("helper disk {} waits for one to go that is not there", helper.id);
    for (const NewMac& mac : config.coming.macs)
        if (!is_there(config.nets, mac.id))
            return fail_input("network interface {} waits for one to go that is not there", mac.id);
    return {};
}

/// Refuses a guest that was told of what this host's CPU does not have.
Result<> check_cpus(const HostCpu& host, const MachineState& state) {
    for (std::size_t i = 0; i < state.cpus.size(); ++i)
        HAKO_TRY_WRAP(refuse_differences(cpu_differences(state.cpus[i], host)), "vCPU {}", state.cpus[i].id);
    return {};
}

/// The same for a KVM that shows its guests the CPU that is there, whatever they were to be told.
Result<> check_seen_cpu(kvm::Vcpu& vcpu, const kvm::VcpuState& state) {
    HAKO_TRY(vcpu.set_cpuid(state.cpuid));
    const std::vector<kvm_cpuid_entry2> here = HAKO_TRY(vcpu.cpuid());
    HAKO_TRY_WRAP(refuse_differences(cpuid_differences(state.seen_cpuid, here, false)), "vCPU {}", vcpu.id());
    return {};
}

/// The devices of a state, by id: each is for one of the configuration, and the other way round.
class SavedDevices {
  public:
    /// `state`: null when nothing is restored.
    explicit SavedDevices(const MachineState* state) : state_(state) {}

    /// The state of a device of the configuration; null when nothing is restored.
    template <typename Own>
    Result<const DeviceState<Own>*> find(std::vector<DeviceState<Own>> MachineState::* devices,
                                         std::string_view what, std::string_view id) {
        if (state_ == nullptr) return nullptr;
        const auto found = std::ranges::find(state_->*devices, id, &DeviceState<Own>::id);
        if (found == (state_->*devices).end()) return fail_input("the state has no {} {}", what, id);
        used_.push_back(&*found);
        return &*found;
    }
    [[nodiscard]] Result<> finish() const {
        if (state_ == nullptr) return {};
        HAKO_TRY(check_used(state_->disks, "disk"));
        HAKO_TRY(check_used(state_->nets, "network interface"));
        HAKO_TRY(check_used(state_->rngs, "entropy device"));
        HAKO_TRY(check_used(state_->consoles, "console"));
        HAKO_TRY(check_used(state_->vsocks, "vsock"));
        HAKO_TRY(check_used(state_->fs, "virtio-fs"));
        HAKO_TRY(check_used(state_->balloons, "balloon"));
        HAKO_TRY(check_used(state_->mems, "memory device"));
        return {};
    }

  private:
    template <typename Own>
    [[nodiscard]] Result<> check_used(const std::vector<DeviceState<Own>>& devices,
                                      std::string_view what) const {
        for (const DeviceState<Own>& device : devices)
            if (std::ranges::find(used_, static_cast<const void*>(&device)) == used_.end())
                return fail_input("the state has a {} {}, the machine's configuration has not", what,
                                  device.id);
        return {};
    }

    const MachineState* state_;
    std::vector<const void*> used_;
};

}  // namespace

Result<std::unique_ptr<Machine>> Machine::create(MachineConfig config, HostResources resources,
                                                 const MachineHost& host, MachineListener& listener,
                                                 std::optional<Restored> restored) {
    // What is wrong with the input is said before KVM is touched.
    HAKO_TRY_WRAP(virtio::mem::check(config.memory), "memory");
    if (config.balloon) HAKO_TRY_WRAP(virtio::balloon::check(*config.balloon, config.memory), "balloon");
    if (restored) {
        HAKO_TRY(check_shape(config, restored->state, restored->memory));
        auto chassis = HAKO_TRY(
            Chassis::build(config, std::move(restored->memory), std::move(resources), host.dirty_log));
        return create(std::move(config), std::move(chassis), host, listener, restored->state,
                      restored->downtime);
    }
    GuestMemory memory = HAKO_TRY(GuestMemory::create(config.memory));
    const boot::BootState start = HAKO_TRY(boot::load(memory, config.payload));
    auto chassis = HAKO_TRY(Chassis::build(config, std::move(memory), std::move(resources), host.dirty_log));
    std::unique_ptr<Machine> machine = on(std::move(config), chassis, host, listener);
    HAKO_TRY(machine->boot(std::move(chassis), start));
    return machine;
}

Result<std::unique_ptr<Machine>> Machine::create(MachineConfig config, Chassis chassis,
                                                 const MachineHost& host, MachineListener& listener,
                                                 const MachineState& state, kvm::Downtime downtime) {
    HAKO_TRY(check_shape(config, state, chassis.memory));
    HAKO_TRY(check_cpus(chassis.cpu, state));
    std::unique_ptr<Machine> machine = on(std::move(config), chassis, host, listener);
    HAKO_TRY(machine->go_on(std::move(chassis), state, downtime));
    return machine;
}

/// Takes memory and VM out of the chassis; the rest is for boot() or go_on().
std::unique_ptr<Machine> Machine::on(MachineConfig config, Chassis& chassis, const MachineHost& host,
                                     MachineListener& listener) {
    return std::unique_ptr<Machine>(
        new Machine(std::move(config), std::move(chassis.vm), std::move(chassis.memory), host, listener));
}

Machine::Machine(MachineConfig config, kvm::Vm vm, GuestMemory memory, const MachineHost& host,
                 MachineListener& listener)
    : config_(std::move(config)),
      vm_(std::move(vm)),
      memory_(std::move(memory)),
      memory_bytes_(memory_.blocks() == nullptr ? memory_.size() : config_.memory.size),
      dirty_(vm_, memory_, host.dirty_log),
      interrupts_(vm_),
      kicks_(vm_),
      host_(host),
      listener_(listener) {
    // Linux waits for a virtio device's status to become 0 after a reset, and for ever if the device is gone
    // and its registers read as ones. That it is gone its configuration space tells.
    const pci::Window window = pci::windows_above(memory_.end()).high;  // of all segments
    mmio_.set_quiet(window.base, window.size);
}

Machine::~Machine() {
    stop();
}

Result<> Machine::boot(Chassis chassis, const boot::BootState& boot) {
    HAKO_TRY(build_devices(std::move(chassis.resources), nullptr));
    const acpi::AcpiConfig acpi{.vcpus = config_.cpus.count,
                                .max_vcpus = config_.cpus.most(),
                                .memory_hotplug = grows_by_acpi(config_.memory),
                                .pci_segments = config_.pci_segments,
                                .ram_end = memory_.end(),
                                .serial = host_.consoles.serial() != nullptr};
    HAKO_TRY(acpi::write_tables(memory_, acpi));
    HAKO_TRY(boot::write_reset_vector(memory_));
    show_generation();
    cpus_.emplace(HAKO_TRY(Cpus::create(chassis.cpu, cpu_place(), std::move(chassis.vcpus),
                                        config_.cpus.most(), memory_, boot)));
    return {};
}

CpuPlace Machine::cpu_place() {
    return {.vm = vm_,
            .pio = pio_,
            .mmio = mmio_,
            .on_stop = [this](const VcpuStop& stop) { cpu_stopped(stop); },
            .on_full_ring =
                [this] {
                    if (const Result<> room = dirty_.make_room(); !room)
                        ring_errors_.warn("{}", room.error().text());
                }};
}

/// Interrupt controllers, clock, devices, vCPUs: each finds what it builds on. A clock that is set after
/// vCPUs have run once makes some guests wait for it to catch up.
Result<> Machine::go_on(Chassis chassis, const MachineState& state, kvm::Downtime downtime) {
    HAKO_TRY(check_seen_cpu(chassis.vcpus.front(), state.cpus.front()));
    HAKO_TRY(kvm::restore_irqchip(vm_, state.irqchip));
    const kvm::ClockState now = HAKO_TRY(kvm::restore_clock(vm_, state.clock, downtime));
    interrupts_.hold_routes();
    HAKO_TRY(build_devices(std::move(chassis.resources), &state));
    HAKO_TRY(interrupts_.apply_routes());
    cpus_.emplace(HAKO_TRY(Cpus::restore(chassis.cpu, cpu_place(), std::move(chassis.vcpus),
                                         config_.cpus.most(), state.cpus, state.clock, now)));
    leaving_ = {state.facts.leaving};
    for (const SegmentState& segment : state.segments)
        leaving_.push_back(segment.leaving);
    was_paused_ = true;
    just_restored_ = true;
    return {};
}

void Machine::cpu_stopped(const VcpuStop& stop) {
    end(stop.kind == VcpuStop::Kind::kTripleFault ? MachineEnd::Kind::kTripleFault
                                                  : MachineEnd::Kind::kKvmError,
        stop.detail);
}

Result<> Machine::build_devices(HostResources resources, const MachineState* restored) {
    const PlatformState* const platform = restored == nullptr ? nullptr : &restored->platform;
    PlatformUnits units{.memory = grows_by_acpi(config_.memory),
                        .cpus = config_.cpus.most() > 1 ? first_units(config_.cpus.count) : 0,
                        .segments = {}};
    // How many there are the guest's ACPI tables say, which are those of its boot.
    if (restored == nullptr) {
        units.segments.resize(config_.pci_segments - 1U);
    } else {
        for (const SegmentState& segment : restored->segments)
            units.segments.push_back(segment.hotplug);
    }
    platform_ =
        HAKO_TRY(Platform::create(pio_, interrupts_, *this, host_.consoles.serial(), units, platform));
    HAKO_TRY(build_segments(restored));
    devices_ =
        std::make_unique<Devices>(virtio::PciServices{memory_, segments_.front()->space, interrupts_, kicks_},
                                  *segments_.front()->bridge, host_.engine);
    for (std::size_t i = 1; i < segments_.size(); ++i)
        devices_->add_segment(segments_[i]->space, *segments_[i]->bridge);
    dirty_.set_foreign(devices_.get());
    SavedDevices saved(restored);

    for (std::size_t i = 0; i < config_.disks.size(); ++i) {
        const auto* const state = HAKO_TRY(saved.find(&MachineState::disks, "disk", config_.disks[i].id));
        HAKO_TRY_WRAP(devices_->add(config_.disks[i], std::move(resources.disks[i]), state), "disk {}",
                      config_.disks[i].id);
    }
    for (const seed::Helper& helper : config_.helpers) {
        const auto* const state = HAKO_TRY(saved.find(&MachineState::disks, "disk", helper.id));
        HAKO_TRY(plug(helper, state));
    }
    for (std::size_t i = 0; i < config_.nets.size(); ++i) {
        const auto* const state =
            HAKO_TRY(saved.find(&MachineState::nets, "network interface", config_.nets[i].id));
        HAKO_TRY_WRAP(devices_->add(config_.nets[i], std::move(resources.nets[i]), state),
                      "network interface {}", config_.nets[i].id);
    }
    // After the others, so that they keep their PCI addresses with and without it.
    if (config_.rng) {
        const auto* const state =
            HAKO_TRY(saved.find(&MachineState::rngs, "entropy device", config_.rng->id));
        HAKO_TRY_WRAP(devices_->add(*config_.rng, state), "entropy device (--rng off leaves it out)");
    }
    for (const virtio::console::Config& console : config_.consoles) {
        const auto* const state = HAKO_TRY(saved.find(&MachineState::consoles, "console", console.id));
        auto backends = HAKO_TRY_WRAP(host_.consoles.open(console), "console {}", console.id);
        HAKO_TRY_WRAP(devices_->add(console, std::move(backends), state), "console {}", console.id);
    }
    for (std::size_t i = 0; i < config_.vsocks.size(); ++i) {
        const virtio::vsock::Config& vsock = config_.vsocks[i];
        const auto* const state = HAKO_TRY(saved.find(&MachineState::vsocks, "vsock", vsock.id));
        HAKO_TRY_WRAP(devices_->add(vsock, std::move(resources.vsocks[i]), state), "vsock {}", vsock.id);
    }
    for (std::size_t i = 0; i < config_.fs.size(); ++i) {
        const auto* const state = HAKO_TRY(saved.find(&MachineState::fs, "virtio-fs", config_.fs[i].id));
        HAKO_TRY_WRAP(devices_->add(config_.fs[i], std::move(resources.fs[i]), state), "virtio-fs {}",
                      config_.fs[i].id);
    }
    if (config_.balloon) {
        const auto* const state =
            HAKO_TRY(saved.find(&MachineState::balloons, "balloon", config_.balloon->id));
        HAKO_TRY_WRAP(devices_->add(*config_.balloon, state), "balloon");
    }
    HAKO_TRY(build_watchdog(restored));
    if (const auto mem = virtio::mem::config_of(config_.memory)) {
        const auto* const state = HAKO_TRY(saved.find(&MachineState::mems, "memory device", mem->id));
        HAKO_TRY(devices_->add(*mem, state));
    }
    HAKO_TRY(saved.finish());
    if (restored != nullptr) {
        for (const auto& gone : restored->gone_disks)
            HAKO_TRY_WRAP(devices_->restore_gone(gone), "the disk that is gone from slot {}", gone.slot);
    }
    return {};
}

Result<> Machine::build_segments(const MachineState* restored) {
    if (restored != nullptr && restored->segments.size() + 1 > config_.pci_segments)
        return fail_input("{} PCI segments were saved, the machine has {}", restored->segments.size() + 1,
                          config_.pci_segments);
    const auto count = static_cast<std::uint16_t>(restored != nullptr ? restored->segments.size() + 1
                                                                      : config_.pci_segments);
    for (std::uint16_t number = 0; number < count; ++number) {
        std::optional<pci::HostBridge::State> bridge;
        if (restored != nullptr)
            bridge = number == 0 ? restored->bridge : restored->segments[number - 1U].bridge;
        segments_.push_back(
            HAKO_TRY_WRAP(pci::Segment::create(mmio_, pio_, memory_.end(), number, count, std::move(bridge)),
                          "PCI segment {}", number));
    }
    leaving_.assign(count, 0);
    return {};
}

Result<> Machine::build_watchdog(const MachineState* restored) {
    if (restored != nullptr && restored->watchdog.has_value() != config_.watchdog.has_value())
        return fail_input("the machine was saved {} a watchdog", restored->watchdog ? "with" : "without");
    if (!config_.watchdog) return {};
    std::optional<watchdog::State> state;
    std::optional<std::uint8_t> slot;
    if (restored != nullptr) {
        state = restored->watchdog->device;
        slot = restored->watchdog->slot;
    }
    auto made = HAKO_TRY(watchdog::Device::create(
        *config_.watchdog, {.space = segments_.front()->space, .engine = host_.engine, .events = *this},
        std::move(state)));
    watchdog_address_ = HAKO_TRY(segments_.front()->bridge->add(*made, slot));
    watchdog_ = std::move(made);
    return {};
}

/// No vCPU runs.
void Machine::drop_watchdog() {
    if (!watchdog_) return;
    const auto removed = segments_.front()->bridge->remove(watchdog_address_);
    if (!removed) log_error("{}", removed.error().text());
    watchdog_.reset();
}

Result<MachineState> Machine::save() const {
    if (running_) return fail_state("the machine runs: pause it first");
    MachineState state;
    state.clock = HAKO_TRY(kvm::read_clock(vm_));
    state.platform = platform_->state();
    state.bridge = segments_.front()->bridge->state();
    for (std::uint16_t number = 1; number < segments_.size(); ++number)
        state.segments.push_back({.bridge = segments_[number]->bridge->state(),
                                  .hotplug = platform_->hotplug(number).state(),
                                  .leaving = leaving_[number]});
    HAKO_TRY(devices_->save(state));
    if (watchdog_) state.watchdog = {.slot = watchdog_address_.device, .device = watchdog_->state()};
    state.cpus = HAKO_TRY(save_parked_cpus());
    state.facts = {.hako = HAKO_VERSION,
                   .vcpus = static_cast<std::uint32_t>(state.cpus.size()),
                   .memory = memory_.size(),
                   .leaving = leaving_.front()};
    state.irqchip = HAKO_TRY(kvm::save_irqchip(vm_));
    return state;
}

/// A vCPU may be anywhere in a device's registers. Removals are rare, so all of them step aside.
template <typename Work>
void Machine::with_vcpus_parked(Work work) {
    if (running_) cpus_->pause();
    work();
    if (running_) cpus_->resume();
}

Result<std::vector<kvm::VcpuState>> Machine::save_cpus() {
    Result<std::vector<kvm::VcpuState>> saved;
    with_vcpus_parked([&] { saved = save_parked_cpus(); });
    return saved;
}

/// Without those that the guest has let go of and that are still to be ended.
Result<std::vector<kvm::VcpuState>> Machine::save_parked_cpus() const {
    const acpi_pm::CpuHotplug* const hotplug = platform_->cpu_hotplug();
    const std::uint64_t enabled = hotplug == nullptr ? ~std::uint64_t{0} : hotplug->state().enabled;
    return cpus_->save([enabled](std::uint32_t id) { return (enabled >> id & 1) != 0; });
}

void Machine::show_generation() {
    const std::optional<vmgenid::State>& generation = platform_->generation();
    if (generation &&
        !memory_.write(GuestAddress{layout::kGenerationId}, std::as_bytes(std::span(generation->id))))
        log_warn("the guest has no memory where its VM generation ID belongs");
}

void Machine::resume() {
    devices_->resume();
    if (std::exchange(just_restored_, false)) {
        show_generation();
        if (memory_.attendant() != nullptr) memory_.attendant()->guest_runs();
        platform_->repeat_edges();
        // What the guest has ejected before the state was taken, and nobody has taken out yet.
        for (std::uint16_t segment = 0; segment < leaving_.size(); ++segment) {
            const std::uint32_t ejected = leaving_[segment] & ~platform_->hotplug(segment).state().asked;
            for (std::uint8_t slot = 0; slot < pci::kSlots; ++slot)
                if ((ejected >> slot & 1) != 0)
                    listener_.slot_ejected({.bus = 0, .device = slot, .function = 0, .segment = segment});
        }
        if (auto* const hotplug = platform_->memory_hotplug()) {
            const acpi_pm::MemoryHotplugState state = hotplug->state();
            for (unsigned piece = 0; piece < state.pieces.size(); ++piece)
                if ((state.units.enabled >> piece & 1) == 0) listener_.memory_ejected(piece);
        }
    }
    if (std::exchange(was_paused_, false)) cpus_->note_stopped();
    if (watchdog_) watchdog_->resume();
    cpus_->resume();
    running_ = true;
}

void Machine::halt() {
    cpus_->halt();
    if (watchdog_) watchdog_->pause();
}

void Machine::go_on() {
    if (watchdog_) watchdog_->resume();
    cpus_->resume();
}

void Machine::pause() {
    cpus_->pause();
    // A guest that stands still cannot show that it lives.
    if (watchdog_) watchdog_->pause();
    devices_->pause();
    was_paused_ = true;
    running_ = false;
}

Machine::Legacy Machine::stop() {
    // vCPUs first: nobody but them calls the devices from the guest's side.
    cpus_.reset();
    if (watchdog_) watchdog_->pause();
    running_ = false;
    dirty_.set_foreign(nullptr);
    if (watchdog_) config_.watchdog->timed_out = watchdog_->timed_out();
    drop_watchdog();
    Legacy legacy{.config = std::move(config_), .resources = {}};
    if (devices_) devices_->take_apart(legacy.resources, legacy.config.helpers);
    const Coming coming = std::exchange(legacy.config.coming, {});
    for (const seed::Helper& helper : coming.helpers)
        seed::put_helper(legacy.config.helpers, helper);
    for (virtio::net::Config& net : legacy.config.nets)
        for (const NewMac& next : coming.macs)
            if (next.id == net.id) net.mac = next.mac;
    return legacy;
}

void Machine::refresh_disks() {
    devices_->for_each<virtio::blk::BlockDevice>([](virtio::blk::BlockDevice& disk) {
        if (const auto changed = disk.refresh_capacity(); !changed)
            log_warn("disk {}: {}", disk.id(), changed.error().text());
    });
}

Result<> Machine::flush_disks() {
    // It may take long, and others want to look at the devices meanwhile.
    std::vector<virtio::blk::BlockDevice*> disks;
    devices_->for_each<virtio::blk::BlockDevice>(
        [&](virtio::blk::BlockDevice& disk) { disks.push_back(&disk); });
    Result<> flushed;
    for (virtio::blk::BlockDevice* const disk : disks)
        if (Result<> one = disk->disk().flush(); !one)
            flushed = std::unexpected(std::move(one).error().wrap(fmt::format("disk {}", disk->id())));
    return flushed;
}

Result<Fd> Machine::open_image(const std::string& id) {
    auto* const disk = devices_->find<virtio::blk::BlockDevice>(id);
    if (disk == nullptr) return fail_missing("there is no disk {}", id);
    // By the file that the disk has, whatever its name leads to now.
    Fd image(
        ::open(fmt::format("/proc/self/fd/{}", disk->disk().buffered_fd()).c_str(), O_RDONLY | O_CLOEXEC));
    if (!image.valid()) return fail_errno(errno, "disk {}", id);
    return image;
}

Result<> Machine::resize_cpus(std::uint32_t count) {
    const std::uint32_t now = config_.cpus.count;
    const std::uint32_t most = config_.cpus.most();
    if (count < 1 || count > most)
        return fail_input("the VM has from 1 to {} CPUs (its max_vcpus), not {}", most, count);
    acpi_pm::CpuHotplug* const hotplug = platform_->cpu_hotplug();
    if (hotplug == nullptr) {
        if (count == now) return {};
        return fail_conflict("the guest knows of no CPUs that come or go: reboot it first");
    }
    bool asked = false;
    for (std::uint32_t cpu = std::min(count, now); cpu < most; ++cpu) {
        if (!cpus_->has(cpu) || (cpu < now && cpu < count)) continue;
        if (count > now)
            return fail_busy("CPU {} is still to go: try again once the guest let go of it", cpu);
        hotplug->ask_to_eject(cpu);
        asked = true;
    }
    if (count > now) HAKO_TRY(plug_cpus(now, count));
    config_.cpus.count = count;
    if (asked || count > now) hotplug->notify();
    return {};
}

/// All of them or none.
Result<> Machine::plug_cpus(std::uint32_t from, std::uint32_t to) {
    Result<> plugged;
    with_vcpus_parked([&] {
        for (std::uint32_t cpu = from; plugged && cpu < to; ++cpu)
            plugged = cpus_->plug(cpu);
        for (std::uint32_t cpu = from; !plugged && cpu < to; ++cpu)
            cpus_->unplug(cpu);
    });
    if (!plugged) return plugged;
    for (std::uint32_t cpu = from; cpu < to; ++cpu)
        platform_->cpu_hotplug()->plug(cpu);
    return {};
}

Result<> Machine::resize_balloon(std::uint64_t bytes) {
    if (!config_.balloon) return fail_input("the VM has no balloon");
    config_.balloon = HAKO_TRY(virtio::balloon::resized(*config_.balloon, bytes, config_.memory));
    if (auto* const balloon = devices_->find<virtio::balloon::BalloonDevice>(config_.balloon->id))
        balloon->resize(config_.balloon->size);
    return {};
}

void Machine::finish_cpu_removal(std::uint32_t cpu) {
    const acpi_pm::CpuHotplug* const hotplug = platform_->cpu_hotplug();
    // The news may have been on its way while the machine rebooted.
    if (hotplug == nullptr || (hotplug->state().enabled >> cpu & 1) != 0) return;
    cpus_->unplug(cpu);
    log_info("CPU {} is removed", cpu);
}

std::uint64_t Machine::memory_bytes() const {
    const PluggedBlocks* blocks = memory_.blocks();
    return memory_bytes_.load(std::memory_order_relaxed) + (blocks == nullptr ? 0 : blocks->plugged());
}

Result<> Machine::resize_blocks(std::uint64_t bytes) {
    const MemoryConfig next = HAKO_TRY(virtio::mem::resized(config_.memory, bytes));
    if (config_.balloon) HAKO_TRY(virtio::balloon::check(*config_.balloon, next));
    config_.memory = next;
    devices_->for_each<virtio::mem::MemDevice>(
        [&](virtio::mem::MemDevice& mem) { mem.resize(next.plugged); });
    return {};
}

Result<> Machine::resize_memory(std::uint64_t bytes) {
    const MemoryConfig& memory = config_.memory;
    if (memory.growth == MemoryGrowth::kVirtioMem) return resize_blocks(bytes);
    const std::uint64_t least = memory.size;
    if (bytes < least || bytes - least > memory.room)
        return fail_input(
            "the VM has from {} to {} of memory (what it started with, and hotplug_size beyond that), not {}",
            format_size(least), format_size(least + memory.room), format_size(bytes));
    const std::uint64_t step = memory_step(memory);
    if (!is_aligned(bytes - least, step))
        return fail_input("memory grows and shrinks in steps of {} beyond {}, {} is between two",
                          format_size(step), format_size(least), format_size(bytes));
    const std::uint64_t plugged = bytes - least;
    if (config_.balloon) {
        MemoryConfig next = memory;
        next.plugged = plugged;
        HAKO_TRY(virtio::balloon::check(*config_.balloon, next));
    }
    acpi_pm::MemoryHotplug* const hotplug = platform_->memory_hotplug();
    if (hotplug == nullptr) {
        if (plugged == memory.plugged) return {};
        return fail_conflict("the guest knows of no memory that comes or goes: reboot it first");
    }
    const acpi_pm::MemoryHotplugState state = hotplug->state();
    const std::size_t staying = HAKO_TRY(staying_pieces(memory, state, plugged));
    if ((state.units.asked & first_units(staying)) != 0)
        return fail_busy("some memory is still to go: try again once the guest let go of it");
    // Pieces that the guest let go of while it kept those behind them.
    bool news = hotplug->plug_again(staying);
    if (plugged > memory.plugged) {
        HAKO_TRY(grow_memory(plugged - memory.plugged));
        news = true;
    }
    for (std::size_t piece = staying; plugged < memory.plugged && piece < state.pieces.size(); ++piece) {
        hotplug->ask_to_eject(static_cast<unsigned>(piece));
        news = true;
    }
    if (news) hotplug->notify();
    return {};
}

/// In several pieces, so that a part of it may go again.
Result<> Machine::grow_memory(std::uint64_t bytes) {
    acpi_pm::MemoryHotplug& hotplug = *platform_->memory_hotplug();
    const std::size_t free = acpi_pm::kMaxUnits - hotplug.state().pieces.size();
    if (free == 0)
        return fail_conflict("memory has come in {} pieces, and there can be no more: shrink it, or reboot",
                             acpi_pm::kMaxUnits);
    // Half of those that are left, so that it can grow again and again.
    const std::size_t pieces = (free + 1) / 2;
    const std::uint64_t size = align_up((bytes + pieces - 1) / pieces, memory_step(config_.memory));
    std::uint64_t at = layout::memory_room(config_.memory.size) + config_.memory.plugged;
    HAKO_TRY(set_plugged(config_.memory.plugged + bytes));
    for (std::uint64_t rest = bytes; rest > 0;) {
        const std::uint64_t piece = std::min(rest, size);
        hotplug.add({.address = at, .size = piece});
        at += piece;
        rest -= piece;
    }
    log_info("the guest may have {} of memory", format_size(memory_.size()));
    return {};
}

/// The one slot that what is plugged has.
Result<> Machine::set_plugged_slot(bool there) {
    if (memory_.size() == config_.memory.size) return {};
    const auto regions = memory_.regions();
    return vm_.set_memory_slot(static_cast<std::uint32_t>(regions.size() - 1), regions.back().base.value,
                               regions.back().host, there ? regions.back().size : 0, 0);
}

/// All that works on memory stands still meanwhile. An error: it is as it was.
Result<> Machine::set_plugged(std::uint64_t bytes) {
    const bool was_running = running_;
    if (was_running) pause();
    dirty_.stop();
    const std::uint64_t before = config_.memory.plugged;
    // A slot of KVM's does not change its size: it goes, and comes again.
    Result<> done = set_plugged_slot(false);
    if (done) done = memory_.set_plugged(bytes);
    if (done) done = set_plugged_slot(true);
    if (!done) {
        Result<> back = memory_.set_plugged(before);
        if (back) back = set_plugged_slot(true);
        if (!back) log_error("{}", back.error().text());
    }
    config_.memory.plugged = memory_.size() - config_.memory.size;
    memory_bytes_.store(memory_.size(), std::memory_order_relaxed);
    devices_->memory_changed();
    if (was_running) resume();
    return done;
}

bool Machine::finish_memory_removal(unsigned piece) {
    acpi_pm::MemoryHotplug* const hotplug = platform_->memory_hotplug();
    if (hotplug == nullptr) return false;
    acpi_pm::MemoryHotplugState state = hotplug->state();
    const auto gone = [&](std::size_t which) { return (state.units.enabled >> which & 1) == 0; };
    // The news may have been on its way while the machine rebooted, or the piece came again.
    if (piece >= state.pieces.size() || !gone(piece)) return false;
    const std::uint64_t room = layout::memory_room(config_.memory.size);
    const acpi_pm::MemoryPiece& ejected = state.pieces[piece];
    if (const auto given = memory_.discard_room(ejected.address - room, ejected.size); !given)
        log_error("{}", given.error().text());
    // It goes once those behind it have.
    std::uint64_t plugged = config_.memory.plugged;
    std::size_t left = state.pieces.size();
    for (; left > 0 && gone(left - 1); --left)
        plugged -= state.pieces[left - 1].size;
    if (plugged == config_.memory.plugged) return false;
    if (const auto done = set_plugged(plugged); !done) {
        log_error("{}", done.error().text());
        return false;
    }
    for (std::size_t each = left; each < state.pieces.size(); ++each)
        hotplug->drop_last();
    log_info("the guest has {} of memory", format_size(memory_.size()));
    return true;
}

Result<pci::Bdf> Machine::add_disk(const virtio::blk::Config& config) {
    if (devices_->has(config.id)) return fail_conflict("the id {} is taken: choose another", config.id);
    virtio::blk::Disk disk = HAKO_TRY_WRAP(virtio::blk::Disk::open(config), "disk {}", config.id);
    const pci::Bdf address = HAKO_TRY_WRAP(devices_->add(config, std::move(disk)), "disk {}", config.id);
    config_.disks.push_back(config);
    tell_inserted(address);
    return address;
}

Result<pci::Bdf> Machine::add_net(const virtio::net::Config& config) {
    if (devices_->has(config.id)) return fail_conflict("the id {} is taken: choose another", config.id);
    virtio::net::HostEnd end =
        HAKO_TRY_WRAP(virtio::net::HostEnd::open(config), "network interface {}", config.id);
    const pci::Bdf address =
        HAKO_TRY_WRAP(devices_->add(config, std::move(end)), "network interface {}", config.id);
    config_.nets.push_back(config);
    tell_inserted(address);
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
    tell_inserted(*added);
    return added;
}

Result<pci::Bdf> Machine::add_vsock(const virtio::vsock::Config& config) {
    if (devices_->has(config.id)) return fail_conflict("the id {} is taken: choose another", config.id);
    virtio::vsock::HostEnd end = HAKO_TRY_WRAP(virtio::vsock::HostEnd::open(config), "vsock {}", config.id);
    const pci::Bdf address = HAKO_TRY_WRAP(devices_->add(config, std::move(end)), "vsock {}", config.id);
    config_.vsocks.push_back(config);
    tell_inserted(address);
    return address;
}

Result<pci::Bdf> Machine::add_fs(const virtio::fs::Config& config) {
    if (devices_->has(config.id)) return fail_conflict("the id {} is taken: choose another", config.id);
    auto daemon =
        HAKO_TRY_WRAP(virtio::vhost_user::Frontend::connect(config.socket), "virtio-fs {}", config.id);
    const pci::Bdf address =
        HAKO_TRY_WRAP(devices_->add(config, std::move(daemon)), "virtio-fs {}", config.id);
    config_.fs.push_back(config);
    tell_inserted(address);
    return address;
}

Result<pci::Bdf> Machine::plug(const seed::Helper& helper, const DeviceState<virtio::blk::State>* restored) {
    Fd image(::fcntl(helper.image->fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!image.valid()) return fail_errno(errno, "helper disk {}", helper.id);
    auto disk =
        HAKO_TRY(virtio::blk::Disk::adopt(std::move(image), fmt::format("of helper disk {}", helper.id)));
    virtio::blk::Config config;
    config.id = helper.id;
    config.serial = helper.serial;
    config.readonly = true;
    return HAKO_TRY_WRAP(devices_->add(config, std::move(disk), restored), "helper disk {}", helper.id);
}

/// While the guest runs.
Result<> Machine::plug_later(const seed::Helper& helper) {
    const pci::Bdf address = HAKO_TRY(plug(helper));
    seed::put_helper(config_.helpers, helper);
    tell_inserted(address);
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
    seed::put_helper(config_.coming.helpers, std::move(helper));
    ask_to_eject(address);
    return {};
}

Result<> Machine::add_helper(seed::Helper helper) {
    if (devices_->has(helper.id)) return fail_conflict("the id {} is taken: choose another", helper.id);
    return plug_later(helper);
}

Result<> Machine::replace_net(const std::string& id, const virtio::net::Mac& mac) {
    const pci::Bdf address = HAKO_TRY(devices_->address(id));
    auto* const net = devices_->find<virtio::net::NetDevice>(id);
    if (net == nullptr) return fail_input("device {} has no address: name a network interface", id);
    // Until the guest lets go of it, nobody is to see it with the address of another.
    net->set_link(false);
    config_.coming.put({.id = id, .mac = mac});
    ask_to_eject(address);
    return {};
}

Result<pci::Bdf> Machine::removable(const std::string& id) const {
    if ((config_.rng && id == config_.rng->id) || (config_.balloon && id == config_.balloon->id) ||
        (config_.watchdog && id == config_.watchdog->id) ||
        devices_->find<virtio::mem::MemDevice>(id) != nullptr)
        return fail_input(
            "device {} stays for the life of the VM: only disks, nets, consoles, vsocks and fs can be "
            "removed",
            id);
    return devices_->address(id);
}

Result<> Machine::request_removal(const std::string& id) {
    const pci::Bdf address = HAKO_TRY(removable(id));
    config_.coming.forget(id);
    ask_to_eject(address);
    return {};
}

Result<> Machine::remove_now(const std::string& id) {
    const pci::Bdf address = HAKO_TRY(removable(id));
    config_.coming.forget(id);
    if (devices_->find<virtio::blk::BlockDevice>(id) != nullptr) {
        with_vcpus_parked([&] { devices_->disown(id); });
        forget(id);
        ask_to_eject(address);
        return {};
    }
    take_out(address);
    platform_->hotplug(address.segment).gone(address.device);
    return {};
}

void Machine::ask_to_eject(pci::Bdf address) {
    leaving_.at(address.segment) |= std::uint32_t{1} << address.device;
    platform_->hotplug(address.segment).ask_to_eject(address.device);
}

void Machine::tell_inserted(pci::Bdf address) {
    platform_->hotplug(address.segment).inserted(address.device);
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
    devices_->for_each<virtio::net::NetDevice>([](virtio::net::NetDevice& net) {
        net.announce_for_driver();
        net.announce();
    });
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
    for (std::uint32_t cpu = 0; cpu < config_.cpus.most(); ++cpu) {
        if (!cpus_->has(cpu)) continue;
        HAKO_TRY(vm_.signal_msi(layout::kLocalApic | std::uint64_t{cpu} << 12, kDeliverNmi));
    }
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

bool Machine::finish_removal(pci::Bdf address) {
    // The news may have been on its way while the device was removed otherwise, or the machine rebooted.
    if (address.segment >= leaving_.size() || address.device >= pci::kSlots ||
        (leaving_[address.segment] >> address.device & 1) == 0)
        return false;
    const std::string id = devices_->id_at(address);
    if (id.empty()) {
        take_out(address);
        return false;
    }
    const Result<bool> replaced = put_next(id, address);
    if (!replaced) log_error("{}", replaced.error().text());
    return replaced.value_or(false);
}

/// Takes the device out, and puts in what is to come in its place, if anything is.
Result<bool> Machine::put_next(const std::string& id, pci::Bdf address) {
    const Coming coming = config_.coming;
    const auto helper = std::ranges::find(coming.helpers, id, &seed::Helper::id);
    const auto mac = std::ranges::find(coming.macs, id, &NewMac::id);
    const auto net = std::ranges::find(config_.nets, id, &virtio::net::Config::id);
    config_.coming.forget(id);
    if (mac != coming.macs.end() && net != config_.nets.end()) {
        virtio::net::Config next = *net;
        next.mac = mac->mac;
        virtio::net::HostEnd end;
        take_out(address, &end);
        // Where it really was: the configuration's segment may be that of the next boot.
        virtio::net::Config here = next;
        here.pci_segment = address.segment;
        HAKO_TRY_WRAP(devices_->add(here, std::move(end), nullptr, address.device), "network interface {}",
                      id);
        config_.nets.push_back(std::move(next));
        tell_inserted(address);
        return true;
    }
    take_out(address);
    if (helper == coming.helpers.end()) return false;
    HAKO_TRY(plug_later(*helper));
    return true;
}

void Machine::take_out(pci::Bdf address, virtio::net::HostEnd* end) {
    const std::string id = devices_->id_at(address);
    leaving_.at(address.segment) &= ~(std::uint32_t{1} << address.device);
    with_vcpus_parked([&] { devices_->remove(address, end); });
    if (!id.empty()) forget(id);
}

void Machine::forget(const std::string& id) {
    std::erase_if(config_.disks, [&](const auto& disk) { return disk.id == id; });
    std::erase_if(config_.nets, [&](const auto& net) { return net.id == id; });
    std::erase_if(config_.helpers, [&](const auto& helper) { return helper.id == id; });
    std::erase_if(config_.vsocks, [&](const auto& vsock) { return vsock.id == id; });
    std::erase_if(config_.fs, [&](const auto& fs) { return fs.id == id; });
    if (std::erase_if(config_.consoles, [&](const auto& console) { return console.id == id; }) > 0)
        host_.consoles.close(id);
    log_info("device {} is removed", id);
}

void Machine::end(MachineEnd::Kind kind, std::string detail) {
    // A guest may repeat itself and several vCPUs may stop at once: the first tells how it ended.
    if (!ended_.exchange(true)) listener_.machine_ended({kind, std::move(detail)});
}

}  // namespace hako
