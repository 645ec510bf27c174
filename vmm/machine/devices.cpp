#include "vmm/machine/devices.h"

#include <algorithm>
#include <ranges>

#include "vmm/base/log.h"

namespace hako {

Devices::~Devices() {
    for (Slot& slot : slots_)
        unplug(slot);
}

Result<pci::Bdf> Devices::add(const virtio::blk::Config& config, virtio::blk::Disk disk) {
    return plug(config.id, HAKO_TRY(virtio::blk::BlockDevice::create(config, std::move(disk), engine_)));
}

Result<pci::Bdf> Devices::add(const virtio::net::Config& config, virtio::net::HostEnd end) {
    return plug(config.id, HAKO_TRY(virtio::net::NetDevice::create(config, std::move(end), engine_)));
}

Result<pci::Bdf> Devices::add(const virtio::rng::Config& config) {
    return plug(config.id, HAKO_TRY(virtio::rng::EntropyDevice::create(config, engine_)));
}

Result<pci::Bdf> Devices::add(const virtio::console::Config& config,
                              std::vector<console::Backend*> backends) {
    return plug(config.id,
                HAKO_TRY(virtio::console::ConsoleDevice::create(config, std::move(backends), engine_)));
}

template <typename Device>
Result<pci::Bdf> Devices::plug(const std::string& id, std::unique_ptr<Device> device) {
    if (has(id)) return fail_conflict("the id {} is taken: choose another", id);
    Device* const plugged = device.get();
    auto transport = HAKO_TRY(virtio::PciTransport::create(id, std::move(device), services_));
    if (paused_) transport->pause();
    const pci::Bdf address = HAKO_TRY(bridge_.add(*transport));
    slots_.push_back({id, std::move(transport), plugged, address});
    return address;
}

void Devices::unplug(Slot& slot) {
    if (const auto removed = bridge_.remove(slot.address); !removed) log_error("{}", removed.error().text());
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

std::string Devices::id_at(std::uint8_t slot) const {
    const auto found = std::ranges::find(slots_, slot, [](const Slot& each) { return each.address.device; });
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

void Devices::remove(std::uint8_t slot) {
    const auto found = std::ranges::find(slots_, slot, [](const Slot& each) { return each.address.device; });
    if (found == slots_.end()) return;
    unplug(*found);
    give_back_image(found->device);
    slots_.erase(found);
}

void Devices::disown(std::string_view disk_id) {
    const auto found = std::ranges::find(slots_, disk_id, &Slot::id);
    if (found == slots_.end()) return;
    give_back_image(found->device);
    found->device = Disowned{};
    found->id.clear();
}

void Devices::give_back_image(const Any& device) {
    // The lock goes now, and not when the kernel has let go of the file: the image may be wanted at once.
    if (auto* const* block = std::get_if<virtio::blk::BlockDevice*>(&device))
        (*block)->take_disk().lock().release();
}

void Devices::take_apart(HostResources& resources, const std::vector<seed::Helper>& helpers) {
    for (Slot& slot : slots_) {
        unplug(slot);
        if (auto* const* block = std::get_if<virtio::blk::BlockDevice*>(&slot.device)) {
            virtio::blk::Disk disk = (*block)->take_disk();
            if (std::ranges::find(helpers, slot.id, &seed::Helper::id) == helpers.end())
                resources.disks.push_back(std::move(disk));
        } else if (auto* const* net = std::get_if<virtio::net::NetDevice*>(&slot.device)) {
            resources.nets.push_back((*net)->take_host_end());
        }
    }
    slots_.clear();
}

}  // namespace hako
