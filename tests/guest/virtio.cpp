#include "virtio.h"

namespace guest {
namespace {

constexpr std::uint16_t kCommandRegister = 0x04;
constexpr std::uint16_t kBar0 = 0x10;
constexpr std::uint16_t kCapabilities = 0x34;

// Common configuration (virtio 1.3, 4.1.4.3).
constexpr std::uint64_t kDeviceFeatureSelect = 0x00;
constexpr std::uint64_t kDeviceFeature = 0x04;
constexpr std::uint64_t kDriverFeatureSelect = 0x08;
constexpr std::uint64_t kDriverFeature = 0x0c;
constexpr std::uint64_t kConfigVector = 0x10;
constexpr std::uint64_t kStatus = 0x14;
constexpr std::uint64_t kQueueSelect = 0x16;
constexpr std::uint64_t kQueueSizeField = 0x18;
constexpr std::uint64_t kQueueVector = 0x1a;
constexpr std::uint64_t kQueueEnable = 0x1c;
constexpr std::uint64_t kQueueNotifyOffset = 0x1e;
constexpr std::uint64_t kQueueDescriptors = 0x20;
constexpr std::uint64_t kQueueDriver = 0x28;
constexpr std::uint64_t kQueueDevice = 0x30;
constexpr std::uint16_t kNoVector = 0xffff;

void write64(std::uint64_t address, std::uint64_t value) {
    mmio_write<std::uint32_t>(address, static_cast<std::uint32_t>(value));
    mmio_write<std::uint32_t>(address + 4, static_cast<std::uint32_t>(value >> 32));
}

std::uint64_t address_of(const volatile void* pointer) {
    return reinterpret_cast<std::uint64_t>(pointer);
}

void barrier() {
    asm volatile("" ::: "memory");
}

}  // namespace

VirtioPci::VirtioPci(std::uint16_t slot) : slot_(slot) {
    const std::uint32_t low = pci_read32(slot, kBar0);
    CHECK((low & 7) == 4);  // 64-bit memory
    bar_ = (std::uint64_t{pci_read32(slot, kBar0 + 4)} << 32) | (low & ~15u);
    map(bar_);
    pci_write32(slot, kCommandRegister, 6);  // memory, bus master
    find_capabilities();
}

void VirtioPci::find_capabilities() {
    std::uint8_t at = static_cast<std::uint8_t>(pci_read32(slot_, kCapabilities));
    while (at != 0) {
        const std::uint32_t head = pci_read32(slot_, at);
        const std::uint8_t id = static_cast<std::uint8_t>(head);
        if (id == 0x09) {
            const std::uint8_t type = static_cast<std::uint8_t>(head >> 24);
            const std::uint64_t where = bar_ + pci_read32(slot_, static_cast<std::uint16_t>(at + 8));
            if (type == 1) common_ = where;
            if (type == 2) {
                notify_base_ = where;
                notify_multiplier_ = pci_read32(slot_, static_cast<std::uint16_t>(at + 16));
            }
            if (type == 4) device_config_ = where;
        } else if (id == 0x11) {
            msix_capability_ = at;
            msix_table_ = bar_ + (pci_read32(slot_, static_cast<std::uint16_t>(at + 4)) & ~7u);
        }
        at = static_cast<std::uint8_t>(head >> 8);
    }
    CHECK(common_ != 0 && notify_base_ != 0 && device_config_ != 0 && msix_capability_ != 0);
}

void VirtioPci::move_bar(std::uint64_t address) {
    pci_write32(slot_, kCommandRegister, 0);
    pci_write32(slot_, kBar0, static_cast<std::uint32_t>(address));
    pci_write32(slot_, kBar0 + 4, static_cast<std::uint32_t>(address >> 32));
    pci_write32(slot_, kCommandRegister, 6);
    const std::uint64_t delta = address - bar_;
    bar_ += delta;
    common_ += delta;
    notify_base_ += delta;
    for (std::uint64_t& notify : notify_)
        notify += delta;
    device_config_ += delta;
    msix_table_ += delta;
    map(bar_);
}

std::uint64_t VirtioPci::offered() {
    mmio_write<std::uint32_t>(common_ + kDeviceFeatureSelect, 0);
    const std::uint64_t low = mmio_read<std::uint32_t>(common_ + kDeviceFeature);
    mmio_write<std::uint32_t>(common_ + kDeviceFeatureSelect, 1);
    return low | (std::uint64_t{mmio_read<std::uint32_t>(common_ + kDeviceFeature)} << 32);
}

void VirtioPci::reset() {
    mmio_write<std::uint8_t>(common_ + kStatus, 0);
    while (status() != 0) {
    }
}

void VirtioPci::negotiate(std::uint64_t features) {
    reset();
    mmio_write<std::uint8_t>(common_ + kStatus, 1);
    mmio_write<std::uint8_t>(common_ + kStatus, 3);
    mmio_write<std::uint32_t>(common_ + kDriverFeatureSelect, 0);
    mmio_write<std::uint32_t>(common_ + kDriverFeature, static_cast<std::uint32_t>(features));
    mmio_write<std::uint32_t>(common_ + kDriverFeatureSelect, 1);
    mmio_write<std::uint32_t>(common_ + kDriverFeature, static_cast<std::uint32_t>(features >> 32));
    mmio_write<std::uint8_t>(common_ + kStatus, 11);
    CHECK(status() == 11);
}

void VirtioPci::set_up(Rings& rings, std::uint8_t vector, std::uint8_t config_vector) {
    const auto entry = [this](std::uint32_t index, std::uint8_t interrupt) {
        const std::uint64_t at = msix_table_ + 16 * index;
        mmio_write<std::uint32_t>(at, 0xfee00000);
        mmio_write<std::uint32_t>(at + 4, 0);
        mmio_write<std::uint32_t>(at + 8, interrupt);
        mmio_write<std::uint32_t>(at + 12, 0);
    };
    entry(0, config_vector);
    entry(1, vector);
    pci_write32(slot_, msix_capability_, pci_read32(slot_, msix_capability_) | 0x80000000);

    mmio_write<std::uint16_t>(common_ + kConfigVector, 0);
    CHECK(mmio_read<std::uint16_t>(common_ + kConfigVector) == 0);
    set_up_queue(0, rings, 1);
}

void VirtioPci::set_up_second(Rings& rings) {
    set_up_queue(1, rings, kNoVector);
}

void VirtioPci::set_up_queue(std::uint16_t queue, Rings& rings, std::uint16_t vector) {
    mmio_write<std::uint16_t>(common_ + kQueueSelect, queue);
    CHECK(mmio_read<std::uint16_t>(common_ + kQueueSizeField) >= kQueueSize);
    mmio_write<std::uint16_t>(common_ + kQueueSizeField, kQueueSize);
    mmio_write<std::uint16_t>(common_ + kQueueVector, vector);
    CHECK(mmio_read<std::uint16_t>(common_ + kQueueVector) == vector);
    memset(&rings, 0, sizeof rings);
    write64(common_ + kQueueDescriptors, address_of(&rings.descriptors));
    write64(common_ + kQueueDriver, address_of(&rings.available));
    write64(common_ + kQueueDevice, address_of(&rings.used));
    const std::uint16_t offset = mmio_read<std::uint16_t>(common_ + kQueueNotifyOffset);
    notify_[queue] = notify_base_ + std::uint64_t{offset} * notify_multiplier_;
    mmio_write<std::uint16_t>(common_ + kQueueEnable, 1);
}

void VirtioPci::driver_ok() {
    mmio_write<std::uint8_t>(common_ + kStatus, 15);
}

void VirtioPci::carry_out(Rings& rings) {
    rings.available.ring[rings.available.index % kQueueSize] = 0;
    barrier();
    ++rings.available.index;
    barrier();
    notify();
    while (*const_cast<volatile std::uint16_t*>(&rings.used.index) != rings.available.index)
        asm volatile("pause");
}

VirtioPci find_device(std::uint16_t type) {
    const int slot = pci_find(0x1af4, static_cast<std::uint16_t>(0x1040 + type));
    CHECK(slot > 0);
    return VirtioPci(static_cast<std::uint16_t>(slot));
}

VirtioPci start_disk(Rings& rings, std::uint64_t features) {
    enable_apic();
    VirtioPci disk = find_device(kBlockDevice);
    disk.negotiate(kVersion1 | features);
    disk.set_up(rings, kQueueInterrupt, kConfigInterrupt);
    disk.driver_ok();
    return disk;
}

void BlockQueue::submit(std::uint32_t slot, std::uint32_t type, std::uint64_t sector, void* data,
                        std::uint32_t length) {
    headers_[slot] = {type, 0, sector};
    statuses_[slot] = 0xff;
    const auto first = static_cast<std::uint16_t>(slot * 3);
    const auto second = static_cast<std::uint16_t>(first + 1);
    const auto third = static_cast<std::uint16_t>(first + 2);
    const bool device_writes = type == kIn || type == kGetId;
    rings_.descriptors[first] = {address_of(&headers_[slot]), sizeof(Header), kNext,
                                 length == 0 ? third : second};
    rings_.descriptors[second] = {address_of(data), length,
                                  static_cast<std::uint16_t>(kNext | (device_writes ? kWrite : 0)), third};
    rings_.descriptors[third] = {address_of(&statuses_[slot]), 1, kWrite, 0};
    barrier();
    rings_.available.ring[rings_.available.index % kQueueSize] = first;
    barrier();
    ++rings_.available.index;
    barrier();
}

void BlockQueue::wait(std::uint16_t count) {
    used_ = static_cast<std::uint16_t>(used_ + count);
    while (*const_cast<volatile std::uint16_t*>(&rings_.used.index) != used_)
        asm volatile("pause");
}

}  // namespace guest
