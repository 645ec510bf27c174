// Drives a virtio PCI device the way a guest's driver does: configuration space through ECAM, the rest
// through BARs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "devices/pci/bdf.h"
#include "devices/pci/config_space.h"
#include "virtio/device.h"
#include "vmm/bus/bus.h"
#include "vmm/memory/layout.h"

namespace hako::test {

/// Registers of struct virtio_pci_common_cfg (virtio 1.3, 4.1.4.3).
namespace common {
inline constexpr std::uint64_t kDeviceFeatureSelect = 0x00;
inline constexpr std::uint64_t kDeviceFeature = 0x04;
inline constexpr std::uint64_t kDriverFeatureSelect = 0x08;
inline constexpr std::uint64_t kDriverFeature = 0x0c;
inline constexpr std::uint64_t kConfigVector = 0x10;
inline constexpr std::uint64_t kNumQueues = 0x12;
inline constexpr std::uint64_t kStatus = 0x14;
inline constexpr std::uint64_t kGeneration = 0x15;
inline constexpr std::uint64_t kQueueSelect = 0x16;
inline constexpr std::uint64_t kQueueSize = 0x18;
inline constexpr std::uint64_t kQueueVector = 0x1a;
inline constexpr std::uint64_t kQueueEnable = 0x1c;
inline constexpr std::uint64_t kQueueNotifyOff = 0x1e;
inline constexpr std::uint64_t kQueueDescriptors = 0x20;
inline constexpr std::uint64_t kQueueDriver = 0x28;
inline constexpr std::uint64_t kQueueDevice = 0x30;
}  // namespace common

inline constexpr std::uint16_t kNoVector = 0xffff;

inline std::uint64_t bus_read(Bus& bus, std::uint64_t address, std::size_t length) {
    std::array<std::byte, 8> data{};
    bus.read(address, std::span(data).first(length));
    return load_le(std::span(data).first(length));
}

inline void bus_write(Bus& bus, std::uint64_t address, std::size_t length, std::uint64_t value) {
    std::array<std::byte, 8> data{};
    store_le(data, value);
    bus.write(address, std::span<const std::byte>(data).first(length));
}

class PciDriver {
  public:
    /// A structure that a virtio vendor capability points at.
    struct Structure {
        std::uint16_t capability = 0;  ///< its offset in configuration space
        std::uint64_t address = 0;     ///< guest-physical
        std::uint32_t length = 0;
    };

    PciDriver(Bus& mmio, pci::Bdf bdf) : mmio_(mmio), bdf_(bdf) {}

    // Configuration space.
    [[nodiscard]] std::uint64_t config_address(std::uint16_t offset) const {
        return layout::kEcam + bdf_.segment * layout::kEcamSize +
               (std::uint64_t{bdf_.device} << 15 | std::uint64_t{bdf_.function} << 12 | offset);
    }
    std::uint32_t config(std::uint16_t offset, std::size_t length) {
        return static_cast<std::uint32_t>(bus_read(mmio_, config_address(offset), length));
    }
    void set_config(std::uint16_t offset, std::size_t length, std::uint32_t value) {
        bus_write(mmio_, config_address(offset), length, value);
    }
    void set_command(std::uint16_t bits) { set_config(pci::reg::kCommand, 2, bits); }
    /// Memory decoding and bus mastering, as pci_enable_device() and pci_set_master() do.
    void enable() { set_command(pci::command::kMemory | pci::command::kBusMaster); }

    std::uint64_t bar(unsigned index) {
        const auto at = static_cast<std::uint16_t>(pci::reg::kBar0 + 4 * index);
        const std::uint32_t low = config(at, 4);
        std::uint64_t address = low & 0xfffffff0;
        if ((low & 0x6) == 0x4) address |= std::uint64_t{config(static_cast<std::uint16_t>(at + 4), 4)} << 32;
        return address;
    }
    void set_bar64(unsigned index, std::uint64_t address) {
        const auto at = static_cast<std::uint16_t>(pci::reg::kBar0 + 4 * index);
        set_config(at, 4, static_cast<std::uint32_t>(address));
        set_config(static_cast<std::uint16_t>(at + 4), 4, static_cast<std::uint32_t>(address >> 32));
    }

    /// Offset of the `nth` capability with this ID (0: the first), or nothing. Gives up on an endless list.
    std::optional<std::uint16_t> find_capability(std::uint8_t id, int nth = 0) {
        auto at = static_cast<std::uint16_t>(config(pci::reg::kCapabilities, 1));
        for (int steps = 0; at != 0 && steps < 48; ++steps) {
            if (config(at, 1) == id && nth-- == 0) return at;
            at = static_cast<std::uint16_t>(config(static_cast<std::uint16_t>(at + 1), 1));
        }
        return std::nullopt;
    }
    /// The virtio structure of this cfg_type.
    std::optional<Structure> find_structure(std::uint8_t type) {
        for (int nth = 0;; ++nth) {
            const auto at = find_capability(pci::capability::kVendor, nth);
            if (!at) return std::nullopt;
            const auto field = [&](int offset) { return static_cast<std::uint16_t>(*at + offset); };
            if (config(field(3), 1) != type) continue;
            return Structure{.capability = *at,
                             .address = bar(config(field(4), 1)) + config(field(8), 4),
                             .length = config(field(12), 4)};
        }
    }

    /// Looks up where everything is. False if a structure is missing.
    bool probe() {
        const auto common = find_structure(1);
        const auto notify = find_structure(2);
        const auto isr = find_structure(3);
        const auto device = find_structure(4);
        const auto msix = find_capability(pci::capability::kMsix);
        if (!common || !notify || !isr || !device || !msix) return false;
        common_ = common->address;
        notify_ = notify->address;
        notify_multiplier_ = config(static_cast<std::uint16_t>(notify->capability + 16), 4);
        isr_ = isr->address;
        device_ = device->address;
        msix_ = *msix;
        const std::uint32_t table = config(static_cast<std::uint16_t>(msix_ + 4), 4);
        const std::uint32_t pending = config(static_cast<std::uint16_t>(msix_ + 8), 4);
        table_ = bar(table & 7) + (table & ~7U);
        pending_ = bar(pending & 7) + (pending & ~7U);
        return true;
    }

    // The structures, at the places probe() found.
    std::uint64_t read(std::uint64_t field, std::size_t length) {
        return bus_read(mmio_, common_ + field, length);
    }
    void write(std::uint64_t field, std::size_t length, std::uint64_t value) {
        bus_write(mmio_, common_ + field, length, value);
    }
    std::uint64_t isr() { return bus_read(mmio_, isr_, 1); }
    std::uint64_t device_config(std::uint64_t offset, std::size_t length) {
        return bus_read(mmio_, device_ + offset, length);
    }
    void set_device_config(std::uint64_t offset, std::size_t length, std::uint64_t value) {
        bus_write(mmio_, device_ + offset, length, value);
    }
    [[nodiscard]] std::uint64_t device_config_address() const { return device_; }

    std::uint8_t status() { return static_cast<std::uint8_t>(read(common::kStatus, 1)); }
    void add_status(std::uint8_t bits) { write(common::kStatus, 1, status() | bits); }
    void reset() { write(common::kStatus, 1, 0); }

    std::uint64_t device_features() {
        write(common::kDeviceFeatureSelect, 4, 0);
        const std::uint64_t low = read(common::kDeviceFeature, 4);
        write(common::kDeviceFeatureSelect, 4, 1);
        return low | read(common::kDeviceFeature, 4) << 32;
    }
    /// From reset up to FEATURES_OK; true if the device kept that bit.
    bool negotiate(std::uint64_t features) {
        reset();
        add_status(virtio::status::kAcknowledge);
        add_status(virtio::status::kDriver);
        write(common::kDriverFeatureSelect, 4, 0);
        write(common::kDriverFeature, 4, features & 0xffffffff);
        write(common::kDriverFeatureSelect, 4, 1);
        write(common::kDriverFeature, 4, features >> 32);
        add_status(virtio::status::kFeaturesOk);
        return (status() & virtio::status::kFeaturesOk) != 0;
    }
    /// Sets a queue up and enables it; its rings' places and its vector may be anything.
    void set_queue(std::uint16_t index, const virtio::QueueConfig& queue, std::uint16_t vector) {
        write(common::kQueueSelect, 2, index);
        write(common::kQueueSize, 2, queue.size);
        write_address(common::kQueueDescriptors, queue.descriptors.value);
        write_address(common::kQueueDriver, queue.driver.value);
        write_address(common::kQueueDevice, queue.device.value);
        write(common::kQueueVector, 2, vector);
        if (queue.enabled) write(common::kQueueEnable, 2, 1);
    }
    void driver_ok() { add_status(virtio::status::kDriverOk); }

    /// The doorbell of a queue.
    std::uint64_t notify_address(std::uint16_t index) {
        write(common::kQueueSelect, 2, index);
        return notify_ + read(common::kQueueNotifyOff, 2) * notify_multiplier_;
    }
    void notify(std::uint16_t index) { bus_write(mmio_, notify_address(index), 2, index); }

    // MSI-X.
    [[nodiscard]] std::uint16_t msix_vectors() {
        return static_cast<std::uint16_t>((config(static_cast<std::uint16_t>(msix_ + 2), 2) & 0x7ff) + 1);
    }
    void set_msix(bool enabled, bool masked) {
        set_config(static_cast<std::uint16_t>(msix_ + 2), 2,
                   (enabled ? 0x8000U : 0) | (masked ? 0x4000U : 0));
    }
    [[nodiscard]] std::uint64_t table_entry(std::uint16_t vector) const {
        return table_ + std::uint64_t{16} * vector;
    }
    [[nodiscard]] std::uint64_t pending_address() const { return pending_; }
    void set_vector(std::uint16_t vector, std::uint64_t address, std::uint32_t data, bool masked) {
        bus_write(mmio_, table_entry(vector), 4, address & 0xffffffff);
        bus_write(mmio_, table_entry(vector) + 4, 4, address >> 32);
        bus_write(mmio_, table_entry(vector) + 8, 4, data);
        bus_write(mmio_, table_entry(vector) + 12, 4, masked ? 1 : 0);
    }
    void mask_vector(std::uint16_t vector, bool masked) {
        bus_write(mmio_, table_entry(vector) + 12, 4, masked ? 1 : 0);
    }
    bool vector_pending(std::uint16_t vector) {
        return (bus_read(mmio_, pending_ + vector / std::uint64_t{64} * 8, 8) >> (vector % 64) & 1) != 0;
    }
    /// MSI-X as Linux brings it up: on with everything masked, then each vector's message, then unmasked.
    /// Vector n sends data `first_data` + n to APIC 0.
    void enable_msix(std::uint32_t first_data) {
        set_msix(true, true);
        const std::uint16_t count = msix_vectors();
        for (std::uint16_t vector = 0; vector < count; ++vector)
            mask_vector(vector, true);
        set_msix(true, false);
        for (std::uint16_t vector = 0; vector < count; ++vector)
            set_vector(vector, 0xfee00000, first_data + vector, false);
    }

  private:
    void write_address(std::uint64_t field, std::uint64_t value) {
        write(field, 4, value & 0xffffffff);
        write(field + 4, 4, value >> 32);
    }

    Bus& mmio_;
    pci::Bdf bdf_;
    std::uint64_t common_ = 0;
    std::uint64_t notify_ = 0;
    std::uint32_t notify_multiplier_ = 0;
    std::uint64_t isr_ = 0;
    std::uint64_t device_ = 0;
    std::uint16_t msix_ = 0;
    std::uint64_t table_ = 0;
    std::uint64_t pending_ = 0;
};

}  // namespace hako::test
