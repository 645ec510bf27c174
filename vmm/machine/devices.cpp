#include "vmm/machine/devices.h"

#include <algorithm>
#include <ranges>

#include "virtio/blk/protocol.h"
#include "virtio/queue.h"
#include "vmm/base/log.h"

namespace hako {
namespace {

template <typename Own>
std::optional<Own> own_state(const DeviceState<Own>* restored) {
    return restored == nullptr ? std::nullopt : std::optional(restored->device);
}

}  // namespace

Devices::~Devices() {
    for (Slot& slot : slots_)
        unplug(slot);
}

Result<pci::Bdf> Devices::add(const virtio::blk::Config& config, virtio::blk::Disk disk,
                              const DeviceState<virtio::blk::State>* restored) {
    auto device =
        HAKO_TRY(virtio::blk::BlockDevice::create(config, std::move(disk), engine_, own_state(restored)));
    return plug(config.id, std::move(device), config.pci_segment, restored);
}

Result<pci::Bdf> Devices::add(const virtio::net::Config& config, virtio::net::HostEnd end,
                              const DeviceState<virtio::net::State>* restored,
                              std::optional<std::uint8_t> slot) {
    auto device =
        HAKO_TRY(virtio::net::NetDevice::create(config, std::move(end), engine_, own_state(restored)));
    return plug(config.id, std::move(device), config.pci_segment, restored, slot);
}

Result<pci::Bdf> Devices::add(const virtio::rng::Config& config,
                              const DeviceState<virtio::rng::State>* restored) {
    auto device = HAKO_TRY(virtio::rng::EntropyDevice::create(config, engine_, own_state(restored)));
    return plug(config.id, std::move(device), config.pci_segment, restored);
}

Result<pci::Bdf> Devices::add(const virtio::console::Config& config, std::vector<console::Backend*> backends,
                              const DeviceState<virtio::console::State>* restored) {
    auto device = HAKO_TRY(
        virtio::console::ConsoleDevice::create(config, std::move(backends), engine_, own_state(restored)));
    return plug(config.id, std::move(device), config.pci_segment, restored);
}

Result<pci::Bdf> Devices::add(const virtio::vsock::Config& config, virtio::vsock::HostEnd end,
                              const DeviceState<virtio::vsock::State>* restored) {
    auto device =
        HAKO_TRY(virtio::vsock::VsockDevice::create(config, std::move(end), engine_, own_state(restored)));
    return plug(config.id, std::move(device), config.pci_segment, restored);
}

Result<pci::Bdf> Devices::add(const virtio::fs::Config& config,
                              std::unique_ptr<virtio::vhost_user::Frontend> daemon,
                              const DeviceState<virtio::fs::State>* restored) {
    if (services_.memory.fd() < 0)
        return fail_input(
            "the daemon at {} cannot share memory that is mapped from a file: restore with "
            "memory_restore_mode Copy",
            config.socket);
    auto device =
        HAKO_TRY(virtio::fs::FsDevice::create(config, std::move(daemon), engine_, own_state(restored)));
    // A differential snapshot may be based on this moment.
    if (logging_) HAKO_TRY(device->log_writes(true, services_.memory));
    return plug(config.id, std::move(device), config.pci_segment, restored);
}

Result<pci::Bdf> Devices::add(const virtio::balloon::Config& config,
                              const DeviceState<virtio::balloon::State>* restored) {
    auto device = HAKO_TRY(virtio::balloon::BalloonDevice::create(config, engine_, own_state(restored)));
    return plug(config.id, std::move(device), config.pci_segment, restored);
}

Result<pci::Bdf> Devices::add(const virtio::mem::Config& config,
                              const DeviceState<virtio::mem::State>* restored) {
    auto device =
        HAKO_TRY(virtio::mem::MemDevice::create(config, services_.memory, engine_, own_state(restored)));
    return plug(config.id, std::move(device), 0, restored);
}

Result<> Devices::restore_gone(const DeviceState<virtio::blk::State>& saved) {
    // What is left of its configuration is what the guest may still look at.
    virtio::blk::Config config;
    config.id = fmt::format("gone-{}-{}", saved.segment, saved.slot);
    config.pci_segment = saved.segment;
    config.queues = static_cast<std::uint16_t>(saved.transport.queues.size());
    config.queue_size = virtio::kMaxQueueSize;
    config.readonly = (saved.device.features & virtio::blk::feature::kReadOnly) != 0;
    virtio::blk::Disk disk = HAKO_TRY(virtio::blk::Disk::absent(config.readonly));
    HAKO_TRY(add(config, std::move(disk), &saved));
    disown(config.id);
    return {};
}

template <typename Device, typename Own>
Result<pci::Bdf> Devices::plug(const std::string& id, std::unique_ptr<Device> device, std::uint16_t segment,
                               const DeviceState<Own>* restored, std::optional<std::uint8_t> slot) {
    if (has(id)) return fail_conflict("the id {} is taken: choose another", id);
    Device* const plugged = device.get();
    std::optional<virtio::PciTransport::State> state;
    if (restored != nullptr) {
        state = restored->transport;
        slot = restored->slot;
        segment = restored->segment;
        if (segment >= segments_.size())
            return fail_input("it was saved in PCI segment {}, of which there is no state", segment);
    }
    if (segment >= segments_.size())
        return fail_conflict("PCI segment {}: the guest knows of {} only: reboot it first", segment,
                             segments_.size());
    virtio::PciServices services{services_.memory, *segments_[segment].space, services_.interrupts,
                                 services_.kicks};
    auto transport =
        HAKO_TRY(virtio::PciTransport::create(id, std::move(device), services, std::move(state)));
    if (paused_) transport->pause();
    const pci::Bdf address = HAKO_TRY(segments_[segment].bridge->add(*transport, slot));
    const std::lock_guard lock(mutex_);
    slots_.push_back({id, std::move(transport), plugged, address});
    return address;
}

Result<> Devices::save(MachineState& state) const {
    // By slot: the order in which they came is nobody's business.
    std::vector<const Slot*> in_order;
    in_order.reserve(slots_.size());
    for (const Slot& slot : slots_)
        in_order.push_back(&slot);
    std::ranges::sort(in_order, {}, [](const Slot* slot) {
        return std::pair(slot->address.segment, slot->address.device);
    });
    for (const Slot* const each : in_order) {
        const Slot& slot = *each;
        const auto saved = [&slot](const auto& device) {
            return DeviceState{.id = slot.id,
                               .segment = slot.address.segment,
                               .slot = slot.address.device,
                               .transport = slot.transport->state(),
                               .device = device.state()};
        };
        if (auto* const* const disk = std::get_if<virtio::blk::BlockDevice*>(&slot.device)) {
            state.disks.push_back(saved(**disk));
        } else if (auto* const* const net = std::get_if<virtio::net::NetDevice*>(&slot.device)) {
            state.nets.push_back(saved(**net));
        } else if (auto* const* const rng = std::get_if<virtio::rng::EntropyDevice*>(&slot.device)) {
            state.rngs.push_back(saved(**rng));
        } else if (auto* const* const port = std::get_if<virtio::console::ConsoleDevice*>(&slot.device)) {
            state.consoles.push_back(saved(**port));
        } else if (auto* const* const vsock = std::get_if<virtio::vsock::VsockDevice*>(&slot.device)) {
            state.vsocks.push_back(saved(**vsock));
        } else if (auto* const* const fs = std::get_if<virtio::fs::FsDevice*>(&slot.device)) {
            state.fs.push_back({.id = slot.id,
                                .segment = slot.address.segment,
                                .slot = slot.address.device,
                                .transport = slot.transport->state(),
                                .device = HAKO_TRY((*fs)->state())});
        } else if (auto* const* const balloon = std::get_if<virtio::balloon::BalloonDevice*>(&slot.device)) {
            state.balloons.push_back(saved(**balloon));
        } else if (auto* const* const mem = std::get_if<virtio::mem::MemDevice*>(&slot.device)) {
            state.mems.push_back(saved(**mem));
        } else if (const auto* const gone = std::get_if<Disowned>(&slot.device)) {
            state.gone_disks.push_back(saved(*gone->device));
            state.gone_disks.back().id = std::to_string(slot.address.device);
        }
    }
    return {};
}

/// They may take long, and others want to look at the devices meanwhile; a vCPU may be in any of them.
template <typename Visit>
void Devices::for_each_fs(Visit visit) const {
    std::vector<std::pair<virtio::PciTransport*, virtio::fs::FsDevice*>> all;
    {
        const std::lock_guard lock(mutex_);
        for (const Slot& slot : slots_)
            if (auto* const* const fs = std::get_if<virtio::fs::FsDevice*>(&slot.device))
                all.emplace_back(slot.transport.get(), *fs);
    }
    for (const auto& [transport, fs] : all)
        transport->exclusively([&visit, device = fs] { visit(*device); });
}

Result<> Devices::check_can_move(virtio::Move move) const {
    Result<> can;
    for_each_fs([&](virtio::fs::FsDevice& fs) {
        if (can) can = fs.check_can_move(move);
    });
    return can;
}

Result<> Devices::start_logging() {
    Result<> started;
    for_each_fs([&](virtio::fs::FsDevice& fs) {
        if (!started) return;
        if (Result<> one = fs.log_writes(true, services_.memory); !one)
            started = std::unexpected(std::move(one).error().wrap(fmt::format("virtio-fs {}", fs.id())));
    });
    logging_ = true;
    if (!started) stop_logging();
    return started;
}

void Devices::stop_logging() {
    logging_ = false;
    for_each_fs([&](virtio::fs::FsDevice& fs) {
        if (const auto stopped = fs.log_writes(false, services_.memory); !stopped)
            log_warn("virtio-fs {}: {}", fs.id(), stopped.error().text());
    });
}

void Devices::collect() {
    for_each_fs([](virtio::fs::FsDevice& fs) { fs.collect_writes(); });
}

void Devices::memory_changed() {
    for_each<virtio::net::NetDevice>([](virtio::net::NetDevice& net) { net.memory_changed(); });
    for_each_fs([](virtio::fs::FsDevice& fs) { fs.memory_changed(); });
}

void Devices::unplug(Slot& slot) {
    pci::HostBridge& bridge = *segments_[slot.address.segment].bridge;
    if (const auto removed = bridge.remove(slot.address); !removed) log_error("{}", removed.error().text());
    slot.transport->device().reset();
}

const Devices::Slot* Devices::slot_of(std::string_view id) const {
    const auto found = std::ranges::find(slots_, id, &Slot::id);
    return found == slots_.end() ? nullptr : &*found;
}

Result<pci::Bdf> Devices::address(std::string_view id) const {
    if (const Slot* const slot = slot_of(id)) return slot->address;
    return fail_missing("there is no device {}", id);
}

std::string Devices::id_at(pci::Bdf address) const {
    const auto found = std::ranges::find(slots_, address, &Slot::address);
    return found == slots_.end() ? std::string() : found->id;
}

void Devices::resume() {
    paused_ = false;
    for (const Slot& slot : slots_)
        slot.transport->resume();
}

void Devices::pause() {
    paused_ = true;
    for (const Slot& slot : slots_)
        slot.transport->pause();
}

void Devices::remove(pci::Bdf address, virtio::net::HostEnd* end) {
    const auto found = std::ranges::find(slots_, address, &Slot::address);
    if (found == slots_.end()) return;
    Slot leaving;
    {
        const std::lock_guard lock(mutex_);
        leaving = std::move(*found);
        slots_.erase(found);
    }
    unplug(leaving);
    give_back_image(leaving.device);
    auto* const* const net = std::get_if<virtio::net::NetDevice*>(&leaving.device);
    if (net != nullptr && end != nullptr) *end = (*net)->take_host_end();
}

void Devices::disown(std::string_view disk_id) {
    const auto found = std::ranges::find(slots_, disk_id, &Slot::id);
    if (found == slots_.end()) return;
    const std::lock_guard lock(mutex_);
    give_back_image(found->device);
    found->device = Disowned{.device = std::get<virtio::blk::BlockDevice*>(found->device)};
    found->id.clear();
}

void Devices::give_back_image(const Any& device) {
    // The lock goes now, and not when the kernel has let go of the file: the image may be wanted at once.
    if (auto* const* block = std::get_if<virtio::blk::BlockDevice*>(&device))
        (*block)->take_disk().lock().release();
}

void Devices::take_apart(HostResources& resources, const std::vector<seed::Helper>& helpers) {
    std::vector<Slot> leaving;
    {
        const std::lock_guard lock(mutex_);
        leaving.swap(slots_);
    }
    for (Slot& slot : leaving) {
        unplug(slot);
        if (auto* const* block = std::get_if<virtio::blk::BlockDevice*>(&slot.device)) {
            virtio::blk::Disk disk = (*block)->take_disk();
            if (std::ranges::find(helpers, slot.id, &seed::Helper::id) == helpers.end())
                resources.disks.push_back(std::move(disk));
        } else if (auto* const* net = std::get_if<virtio::net::NetDevice*>(&slot.device)) {
            resources.nets.push_back((*net)->take_host_end());
        } else if (auto* const* vsock = std::get_if<virtio::vsock::VsockDevice*>(&slot.device)) {
            resources.vsocks.push_back((*vsock)->take_host_end());
        } else if (auto* const* fs = std::get_if<virtio::fs::FsDevice*>(&slot.device)) {
            resources.fs.push_back((*fs)->take_daemon());
        }
    }
}

}  // namespace hako
