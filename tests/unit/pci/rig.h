// A bus-0 machine without KVM: what PCI devices need around them.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "devices/pci/host_bridge.h"
#include "tests/unit/base/fake_interrupts.h"
#include "tests/unit/pci/fake_device.h"
#include "tests/unit/pci/pci_driver.h"
#include "virtio/pci/transport.h"

namespace hako::test {

/// The parts that transports share. Dies after everything that stands in it.
struct PciRig {
    explicit PciRig(std::optional<pci::HostBridge::State> restored = std::nullopt) {
        auto made = pci::HostBridge::create(space, ports, std::move(restored));
        REQUIRE_MESSAGE(made, made.error().text());
        bridge = std::move(*made);
    }

    GuestMemory memory = std::move(GuestMemory::create({.size = 2 * MiB, .thp = false}).value());
    Bus mmio;
    Bus ports;
    FakeInterrupts interrupts;
    FakeKicks kicks;
    pci::AddressSpace space{mmio, pci::windows_above(memory.end())};
    std::unique_ptr<pci::HostBridge> bridge;
};

/// A rig with one FakeDevice in a slot and a driver for it.
struct TransportRig : PciRig {
    explicit TransportRig(std::optional<virtio::PciTransport::State> restored = std::nullopt,
                          std::vector<std::uint16_t> max_sizes = {256, 64}) {
        auto owned = std::make_unique<FakeDevice>(log, std::move(max_sizes));
        device = owned.get();
        auto made = virtio::PciTransport::create("disk0", std::move(owned), services(), std::move(restored));
        REQUIRE_MESSAGE(made, made.error().text());
        transport = std::move(*made);
        const auto bdf = bridge->add(*transport);
        REQUIRE(bdf);
        where = *bdf;
        driver.emplace(mmio, where);
        REQUIRE(driver->probe());
    }
    ~TransportRig() { CHECK(bridge->remove(where)); }

    virtio::PciServices services() {
        return {.memory = memory, .space = space, .interrupts = interrupts, .kicks = kicks};
    }
    /// Brings the device up as a driver does: vector 0 for configuration, 1 and 2 for the queues.
    void bring_up() {
        driver->enable();
        driver->enable_msix(0x40);
        REQUIRE(driver->negotiate(FakeDevice::kFeatures));
        driver->write(common::kConfigVector, 2, 0);
        driver->set_queue(0, queue(0), 1);
        driver->set_queue(1, queue(1), 2);
        driver->driver_ok();
    }
    static virtio::QueueConfig queue(std::uint16_t index) {
        const std::uint64_t base = 0x10000 + std::uint64_t{0x10000} * index;
        return {.size = static_cast<std::uint16_t>(index == 0 ? 256 : 32),
                .descriptors = GuestAddress{base},
                .driver = GuestAddress{base + 0x4000},
                .device = GuestAddress{base + 0x8000},
                .enabled = true};
    }
    /// Takes a signal that waits in the eventfd connected to the GSI of this message data.
    bool interrupted(std::uint32_t data) {
        for (const auto& [gsi, message] : interrupts.routes) {
            const auto connected = interrupts.connected.find(gsi);
            if (message.data != data || connected == interrupts.connected.end()) continue;
            std::uint64_t count = 0;
            return ::read(connected->second, &count, sizeof count) == sizeof count;
        }
        return false;
    }

    DeviceLog log;
    FakeDevice* device = nullptr;  ///< owned by the transport
    std::unique_ptr<virtio::PciTransport> transport;
    pci::Bdf where;
    std::optional<PciDriver> driver;
};

}  // namespace hako::test
