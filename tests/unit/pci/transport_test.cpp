#include "virtio/pci/transport.h"

#include <doctest/doctest.h>

#include <thread>

#include "tests/unit/pci/rig.h"

using namespace hako;
using namespace hako::test;
namespace status = hako::virtio::status;

namespace {

/// Reads through VIRTIO_PCI_CAP_PCI_CFG.
struct ConfigWindow {
    explicit ConfigWindow(PciDriver& owner) : driver(owner), at(owner.find_structure(5).value().capability) {}

    void aim(std::uint32_t bar, std::uint32_t offset, std::uint32_t length) {
        driver.set_config(field(4), 1, bar);
        driver.set_config(field(8), 4, offset);
        driver.set_config(field(12), 4, length);
    }
    std::uint32_t read() { return driver.config(field(16), 4); }
    void write(std::uint32_t value) { driver.set_config(field(16), 4, value); }
    [[nodiscard]] std::uint16_t field(int offset) const { return static_cast<std::uint16_t>(at + offset); }

    PciDriver& driver;
    std::uint16_t at;
};

std::uint64_t waiting(const EventFd& event) {
    return event.take();
}

}  // namespace

TEST_CASE("a transport identifies its device as virtio 1.x does") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    CHECK(driver.config(pci::reg::kVendorId, 4) == 0x10421af4);
    CHECK(driver.config(pci::reg::kRevision, 4) == 0x01800001);
    CHECK(driver.config(pci::reg::kSubsystemVendorId, 2) == 0x1af4);
    CHECK(driver.config(pci::reg::kInterruptPin, 1) == 0);
    CHECK(driver.msix_vectors() == 3);
}

TEST_CASE("each virtio structure lies in the BAR, aligned, apart from the others") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    const std::uint64_t bar = driver.bar(0);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> parts = {
        {driver.table_entry(0), driver.table_entry(3)},
        {driver.pending_address(), driver.pending_address() + 8}};
    for (const int type : {1, 2, 3, 4}) {
        const auto part = driver.find_structure(static_cast<std::uint8_t>(type));
        REQUIRE(part);
        CHECK(part->length > 0);
        CHECK(part->address % 4 == 0);
        parts.emplace_back(part->address, part->address + part->length);
    }
    CHECK(driver.find_structure(1)->length >= 56);
    CHECK(driver.find_structure(2)->length == 8);
    CHECK_FALSE(driver.find_structure(6));
    std::ranges::sort(parts);
    CHECK(parts.front().first >= bar);
    CHECK(parts.back().second <= bar + virtio::PciTransport::kBarSize);
    for (std::size_t i = 1; i < parts.size(); ++i)
        CHECK(parts[i - 1].second <= parts[i].first);
}

TEST_CASE("a driver brings the device up and the device gets what the driver set") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    CHECK(driver.device_features() == FakeDevice::kFeatures);
    CHECK(driver.read(common::kNumQueues, 2) == 2);
    CHECK(driver.status() == 0);
    rig.bring_up();

    CHECK(driver.status() ==
          (status::kAcknowledge | status::kDriver | status::kFeaturesOk | status::kDriverOk));
    REQUIRE(rig.log.activations == 1);
    CHECK(rig.log.features == FakeDevice::kFeatures);
    CHECK(rig.log.positions.empty());
    REQUIRE(rig.log.queues.size() == 2);
    REQUIRE(rig.log.kicks.size() == 2);
    for (std::uint16_t i = 0; i < 2; ++i) {
        const virtio::QueueConfig wanted = TransportRig::queue(i);
        CHECK(rig.log.queues[i].size == wanted.size);
        CHECK(rig.log.queues[i].descriptors == wanted.descriptors);
        CHECK(rig.log.queues[i].driver == wanted.driver);
        CHECK(rig.log.queues[i].device == wanted.device);
        CHECK(rig.log.queues[i].enabled);
        CHECK(rig.log.hooks->queue_interrupt(i) >= 0);
    }
}

TEST_CASE("registers read back what was written, in whole and in part") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    driver.write(common::kQueueSelect, 2, 1);
    CHECK(driver.read(common::kQueueSelect, 2) == 1);
    CHECK(driver.read(common::kQueueSize, 2) == 32);
    CHECK(driver.read(common::kQueueVector, 2) == 2);
    CHECK(driver.read(common::kQueueEnable, 2) == 1);
    CHECK(driver.read(common::kQueueNotifyOff, 2) == 1);
    CHECK(driver.read(common::kQueueDriver, 8) == 0x24000);
    CHECK(driver.read(common::kQueueDevice, 4) == 0x28000);
    CHECK(driver.read(common::kQueueDevice + 1, 1) == 0x80);
    CHECK(driver.read(common::kConfigVector, 2) == 0);
    CHECK(driver.read(common::kDriverFeature, 4) == FakeDevice::kFeatures >> 32);
    CHECK(driver.read(0x3c, 8) == 0);
}

TEST_CASE("ring addresses may be written in halves or whole") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    driver.write(common::kQueueDescriptors, 8, 0x1122334455667788);
    CHECK(driver.read(common::kQueueDescriptors, 4) == 0x55667788);
    driver.write(common::kQueueDescriptors + 4, 4, 0xaabbccdd);
    CHECK(driver.read(common::kQueueDescriptors, 8) == 0xaabbccdd55667788);
    driver.write(common::kQueueDescriptors + 2, 4, 0);  // across halves
    driver.write(common::kQueueDescriptors, 2, 0);
    CHECK(driver.read(common::kQueueDescriptors, 8) == 0xaabbccdd55667788);
}

TEST_CASE("feature words beyond the second are empty and take nothing") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    driver.write(common::kDeviceFeatureSelect, 4, 2);
    CHECK(driver.read(common::kDeviceFeature, 4) == 0);
    driver.write(common::kDriverFeatureSelect, 4, 0xffffffff);
    driver.write(common::kDriverFeature, 4, 0xffffffff);
    CHECK(driver.read(common::kDriverFeature, 4) == 0);
    CHECK(driver.negotiate(FakeDevice::kFeatures));
}

TEST_CASE("each queue has a doorbell inside the kernel, and it moves with the BAR") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    CHECK(rig.kicks.connected.empty());
    rig.bring_up();
    const std::uint64_t first = driver.notify_address(0);
    CHECK(driver.notify_address(1) == first + 4);
    REQUIRE(rig.kicks.connected.size() == 2);
    CHECK(rig.kicks.connected.at(first) == rig.log.kicks[0]->fd());
    CHECK(rig.kicks.connected.at(first + 4) == rig.log.kicks[1]->fd());

    const std::uint64_t bar = driver.bar(0);
    driver.set_bar64(0, layout::kMmio32);
    CHECK(rig.kicks.connected.size() == 2);
    CHECK(rig.kicks.connected.contains(first - bar + layout::kMmio32));
    driver.set_command(0);
    CHECK(rig.kicks.connected.empty());
}

TEST_CASE("a write to the doorbell that no ioeventfd took signals the same eventfd") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.kicks.limit = 1;
    rig.bring_up();
    CHECK(rig.kicks.connected.size() == 1);
    driver.notify(1);
    CHECK(waiting(*rig.log.kicks[1]) == 1);
    CHECK(waiting(*rig.log.kicks[0]) == 0);
    bus_write(rig.mmio, driver.notify_address(0), 4, 0);
    CHECK(waiting(*rig.log.kicks[0]) == 1);
    bus_write(rig.mmio, driver.notify_address(0) + 2, 2, 0);  // between doorbells
    bus_write(rig.mmio, driver.notify_address(1) + 4, 2, 0);  // no such queue
    bus_write(rig.mmio, driver.notify_address(0) + 0xffc, 4, 0);
    CHECK(waiting(*rig.log.kicks[0]) == 0);
    CHECK(waiting(*rig.log.kicks[1]) == 0);
}

TEST_CASE("device configuration is passed on at any width, and bounded") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    CHECK(driver.device_config(4, 1) == 0x04);
    CHECK(driver.device_config(4, 2) == 0x0504);
    CHECK(driver.device_config(5, 4) == 0x08070605);
    CHECK(driver.device_config(8, 8) == 0x0f0e0d0c0b0a0908);
    CHECK(driver.device_config(58, 4) == 0x3b3a);
    CHECK(driver.device_config(0xffe, 4) == 0);
    driver.set_device_config(32, 1, 0x99);
    CHECK(driver.device_config(32, 1) == 0x99);
    driver.set_device_config(0xffe, 4, 0xffffffff);
    CHECK(rig.log.config_end <= rig.driver->find_structure(4)->length);
}

TEST_CASE("a queue interrupt goes to the vector the driver chose, and nowhere without one") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    const auto raise = [&](std::uint16_t queue) {
        const std::uint64_t one = 1;
        CHECK(::write(rig.log.hooks->queue_interrupt(queue), &one, sizeof one) == sizeof one);
    };
    raise(0);
    CHECK(rig.interrupted(0x41));
    CHECK_FALSE(rig.interrupted(0x42));
    raise(1);
    CHECK(rig.interrupted(0x42));
    CHECK(rig.log.hooks->queue_interrupt(2) == -1);

    driver.write(common::kQueueSelect, 2, 1);
    driver.write(common::kQueueVector, 2, 1);  // shares queue 0's
    CHECK(rig.log.hooks->queue_interrupt(1) == rig.log.hooks->queue_interrupt(0));
    driver.write(common::kQueueVector, 2, kNoVector);
    CHECK(rig.log.hooks->queue_interrupt(1) == -1);
}

TEST_CASE("vectors that do not exist read back as none") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    CHECK(driver.read(common::kConfigVector, 2) == kNoVector);
    CHECK(driver.read(common::kQueueVector, 2) == kNoVector);
    for (const std::uint16_t bad :
         {std::uint16_t{3}, std::uint16_t{0x800}, std::uint16_t{0xfffe}, kNoVector}) {
        driver.write(common::kConfigVector, 2, 2);
        CHECK(driver.read(common::kConfigVector, 2) == 2);
        driver.write(common::kConfigVector, 2, bad);
        CHECK(driver.read(common::kConfigVector, 2) == kNoVector);
        driver.write(common::kQueueVector, 2, 2);
        driver.write(common::kQueueVector, 2, bad);
        CHECK(driver.read(common::kQueueVector, 2) == kNoVector);
    }
}

TEST_CASE("a configuration change counts a generation, sets the ISR bit and interrupts") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    const std::uint64_t generation = driver.read(common::kGeneration, 1);
    CHECK(driver.isr() == 0);
    rig.log.hooks->config_changed();
    CHECK(driver.read(common::kGeneration, 1) == ((generation + 1) & 0xff));
    CHECK(rig.interrupted(0x40));
    CHECK_FALSE(rig.interrupted(0x41));
    CHECK(driver.isr() == 2);
    CHECK(driver.isr() == 0);
}

TEST_CASE("a masked vector keeps its interrupt until it is unmasked, also by the bus-master bit") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    driver.mask_vector(0, true);
    rig.log.hooks->config_changed();
    CHECK_FALSE(rig.interrupted(0x40));
    CHECK(driver.vector_pending(0));
    driver.mask_vector(0, false);
    CHECK(rig.interrupted(0x40));
    CHECK_FALSE(driver.vector_pending(0));

    driver.set_command(pci::command::kMemory);
    rig.log.hooks->config_changed();
    CHECK(driver.vector_pending(0));
    driver.enable();
    CHECK(rig.interrupted(0x40));
    driver.set_msix(false, false);
    rig.log.hooks->config_changed();
    CHECK(driver.vector_pending(0));
}

TEST_CASE("a device that breaks down tells the driver, once") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    rig.log.hooks->needs_reset("a test");
    CHECK((driver.status() & status::kNeedsReset) != 0);
    CHECK((driver.status() & status::kDriverOk) != 0);
    CHECK(rig.interrupted(0x40));
    rig.log.hooks->needs_reset("again");
    CHECK_FALSE(rig.interrupted(0x40));
    driver.reset();
    CHECK(driver.status() == 0);
    rig.bring_up();
    CHECK(rig.log.activations == 2);
    CHECK((driver.status() & status::kNeedsReset) == 0);
}

TEST_CASE("queues the device cannot use mean NEEDS_RESET and a configuration interrupt") {
    TransportRig rig;
    rig.device->refuse = "the rings lie outside memory";
    rig.bring_up();
    CHECK((rig.driver->status() & status::kNeedsReset) != 0);
    CHECK(rig.interrupted(0x40));
    CHECK_FALSE(rig.log.active);
    rig.device->refuse.reset();
    rig.bring_up();
    CHECK((rig.driver->status() & status::kNeedsReset) == 0);
    CHECK(rig.log.active);
}

TEST_CASE("a device may ask for a reset while it is being activated") {
    TransportRig rig;
    rig.device->on_activate = [](virtio::TransportHooks& hooks) {
        std::thread([&hooks] { hooks.needs_reset("from its io thread"); }).join();
    };
    rig.bring_up();
    CHECK((rig.driver->status() & status::kNeedsReset) != 0);
    CHECK(rig.interrupted(0x40));
}

TEST_CASE("an io thread may use every hook while a vCPU waits for it in a reset") {
    TransportRig rig;
    rig.bring_up();
    int interrupt = -1;
    rig.device->on_reset = [&] {
        std::thread([&] {
            interrupt = rig.log.hooks->queue_interrupt(0);
            rig.log.hooks->config_changed();
            rig.log.hooks->needs_reset("too late");
        }).join();
    };
    rig.driver->reset();
    rig.device->on_reset = nullptr;
    CHECK(interrupt >= 0);
    CHECK(rig.driver->status() == 0);
    CHECK(rig.driver->isr() == 0);
}

TEST_CASE("a reset stops the device first, then forgets everything the driver set") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    const std::uint64_t generation = driver.read(common::kGeneration, 1);
    driver.mask_vector(1, true);
    const std::uint64_t one = 1;
    CHECK(::write(rig.log.hooks->queue_interrupt(0), &one, sizeof one) == sizeof one);
    REQUIRE(driver.vector_pending(1));
    rig.log.kicks[0]->signal();
    const int resets = rig.log.resets;
    std::uint8_t status_in_reset = 0;
    rig.device->on_reset = [&] { status_in_reset = 1; };
    driver.reset();
    rig.device->on_reset = nullptr;

    CHECK(rig.log.resets == resets + 1);
    CHECK(status_in_reset == 1);
    CHECK_FALSE(rig.log.active);
    CHECK(driver.status() == 0);
    CHECK(driver.read(common::kGeneration, 1) == generation);
    CHECK(driver.read(common::kConfigVector, 2) == kNoVector);
    CHECK_FALSE(driver.vector_pending(1));
    CHECK(waiting(*rig.log.kicks[0]) == 0);
    CHECK(rig.log.hooks->queue_interrupt(0) == -1);
    CHECK(driver.read(common::kDriverFeature, 4) == 0);
    for (std::uint16_t i = 0; i < 2; ++i) {
        driver.write(common::kQueueSelect, 2, i);
        CHECK(driver.read(common::kQueueSize, 2) == (i == 0 ? 256 : 64));
        CHECK(driver.read(common::kQueueEnable, 2) == 0);
        CHECK(driver.read(common::kQueueDescriptors, 8) == 0);
        CHECK(driver.read(common::kQueueVector, 2) == kNoVector);
    }
}

TEST_CASE("the window in configuration space reaches the BAR without memory decoding") {
    TransportRig rig;
    ConfigWindow window(*rig.driver);
    window.aim(0, common::kNumQueues, 2);
    CHECK(window.read() == 2);
    window.aim(0, common::kStatus, 1);
    window.write(status::kAcknowledge);
    CHECK((window.read() & 0xff) == status::kAcknowledge);
    window.aim(0, 0x2004, 4);  // device configuration
    CHECK(window.read() == 0x07060504);

    // A doorbell rung through it.
    rig.bring_up();
    window.aim(0, static_cast<std::uint32_t>(rig.driver->notify_address(1) - rig.driver->bar(0)), 2);
    window.write(1);
    CHECK(waiting(*rig.log.kicks[1]) == 1);
}

TEST_CASE("the window refuses other BARs, odd widths and places outside") {
    TransportRig rig;
    ConfigWindow window(*rig.driver);
    window.aim(0, 0x2004, 4);
    REQUIRE(window.read() == 0x07060504);
    const auto dead = [&](std::uint32_t bar, std::uint32_t offset, std::uint32_t length) {
        window.aim(bar, offset, length);
        window.write(0xdeadbeef);
        CHECK(window.read() == 0xdeadbeef);
    };
    dead(1, 0x2000, 4);
    dead(255, 0x2000, 4);
    dead(0, 0x2000, 0);
    dead(0, 0x2000, 3);
    dead(0, 0x2000, 8);
    dead(0, 0x2000, 0xffffffff);
    dead(0, 0x2002, 4);
    dead(0, 0x8000, 4);
    dead(0, 0xfffffffc, 4);
    window.aim(0, 0x2000, 4);
    CHECK(window.read() == 0x03020100);
}

TEST_CASE("a transport that goes away stops its device and gives everything back") {
    DeviceLog log;
    PciRig rig;
    auto made = virtio::PciTransport::create(
        "disk0", std::make_unique<FakeDevice>(log),
        {.memory = rig.memory, .space = rig.space, .interrupts = rig.interrupts, .kicks = rig.kicks});
    REQUIRE(made);
    const pci::Bdf bdf = rig.bridge->add(**made, std::uint8_t{5}).value();
    PciDriver driver(rig.mmio, bdf);
    REQUIRE(driver.probe());
    driver.enable();
    driver.enable_msix(0x40);
    const std::uint64_t bar = driver.bar(0);
    CHECK(rig.interrupts.connected.size() == 3);
    REQUIRE(rig.bridge->remove(bdf));
    made->reset();
    CHECK_FALSE(log.alive);
    CHECK(log.resets > 0);
    CHECK(rig.kicks.connected.empty());
    CHECK(rig.interrupts.connected.empty());
    CHECK(rig.interrupts.routes.empty());
    CHECK(bus_read(rig.mmio, bar, 4) == 0xffffffff);
    CHECK(rig.space.allocate(pci::BarType::kMemory64, virtio::PciTransport::kBarSize) == bar);
}

TEST_CASE("a device with too many queues or odd sizes is refused") {
    const auto make = [](std::vector<std::uint16_t> sizes) {
        PciRig rig;
        DeviceLog log;
        return virtio::PciTransport::create("disk0", std::make_unique<FakeDevice>(log, std::move(sizes)),
                                            {.memory = rig.memory,
                                             .space = rig.space,
                                             .interrupts = rig.interrupts,
                                             .kicks = rig.kicks})
            .has_value();
    };
    CHECK(make({}));
    CHECK(make(std::vector<std::uint16_t>(virtio::PciTransport::kMaxQueues, 16)));
    CHECK_FALSE(make(std::vector<std::uint16_t>(virtio::PciTransport::kMaxQueues + 1, 16)));
    CHECK_FALSE(make({100}));
    CHECK_FALSE(make({0}));
}
