// Devices without a VM around them: saved, built again, the same.
#include "vmm/machine/devices.h"

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>

#include "devices/console/backend.h"
#include "devices/pci/segment.h"
#include "tests/unit/pci/rig.h"
#include "tests/unit/virtio/temp_image.h"

using namespace hako;
using namespace hako::test;

namespace {

struct Host {
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    boost::asio::io_context io;
    std::unique_ptr<console::Backend> backend =
        console::Backend::open(io, *engine, {.mode = console::Mode::kFile, .path = "/dev/null"}).value();
    TempImage first{1 * MiB};
    TempImage second{2 * MiB};

    static virtio::blk::Config disk(const char* id, const TempImage& image) {
        virtio::blk::Config config;
        config.id = id;
        config.path = image.path();
        return config;
    }
    [[nodiscard]] virtio::vsock::Config vsock() const {
        return {.id = "vsock0", .cid = 3, .socket = first.path() + ".vsock"};
    }
    static virtio::console::Config console() {
        virtio::console::Config config;
        config.id = "console0";
        config.console = {.mode = console::Mode::kFile, .path = "/dev/null"};
        return config;
    }
};

struct Bus0 : PciRig {
    explicit Bus0(Host& host, std::optional<pci::HostBridge::State> restored = std::nullopt)
        : PciRig(std::move(restored)),
          devices({.memory = memory, .space = space, .interrupts = interrupts, .kicks = kicks}, *bridge,
                  *host.engine) {}
    Devices devices;
};

virtio::blk::Disk open(const virtio::blk::Config& config) {
    return virtio::blk::Disk::open(config).value();
}

/// Brings up the block device in `slot` as a driver does.
void bring_up(Bus0& bus, std::uint8_t slot) {
    PciDriver driver(bus.mmio, pci::Bdf{.bus = 0, .device = slot, .function = 0});
    REQUIRE(driver.probe());
    driver.enable();
    driver.enable_msix(0x40);
    REQUIRE(driver.negotiate(virtio::feature::kVersion1));
    driver.set_queue(0,
                     {.size = 64,
                      .descriptors = GuestAddress{0x10000},
                      .driver = GuestAddress{0x14000},
                      .device = GuestAddress{0x18000},
                      .enabled = true},
                     1);
    driver.driver_ok();
}

}  // namespace

TEST_CASE("devices go on in their slots, those too that came late and that have lost their image") {
    Host host;
    const virtio::blk::Config kept = Host::disk("kept", host.first);
    const virtio::blk::Config lost = Host::disk("lost", host.second);
    const virtio::rng::Config rng;
    MachineState saved;
    {
        Bus0 bus(host);
        REQUIRE(bus.devices.add(lost, open(lost)));
        REQUIRE(bus.devices.add(rng));
        REQUIRE(bus.devices.add(Host::console(), {host.backend.get()}));
        REQUIRE(bus.devices.add(kept, open(kept)));
        REQUIRE(bus.devices.add(host.vsock(), virtio::vsock::HostEnd::open(host.vsock()).value()));
        bring_up(bus, 1);
        bring_up(bus, 4);
        bus.devices.disown("lost");
        bus.devices.pause();
        REQUIRE(bus.devices.save(saved));
        saved.bridge = bus.bridge->state();
    }
    REQUIRE(saved.disks.size() == 1);
    CHECK(saved.disks[0].id == "kept");
    CHECK(saved.disks[0].slot == 4);
    CHECK(saved.disks[0].transport.status == 15);
    REQUIRE(saved.gone_disks.size() == 1);
    CHECK(saved.gone_disks[0].slot == 1);
    CHECK(saved.gone_disks[0].device.capacity == 2 * MiB / 512);
    CHECK(saved.rngs.size() == 1);
    CHECK(saved.consoles.size() == 1);
    REQUIRE(saved.vsocks.size() == 1);
    CHECK(saved.vsocks[0].slot == 5);

    // In another order: the slots are those of the state.
    Bus0 bus(host, saved.bridge);
    REQUIRE(bus.devices.add(kept, open(kept), &saved.disks[0]));
    REQUIRE(bus.devices.add(Host::console(), {host.backend.get()}, &saved.consoles[0]));
    REQUIRE(
        bus.devices.add(host.vsock(), virtio::vsock::HostEnd::open(host.vsock()).value(), &saved.vsocks[0]));
    REQUIRE(bus.devices.add(rng, &saved.rngs[0]));
    const auto gone = bus.devices.restore_gone(saved.gone_disks[0]);
    REQUIRE_MESSAGE(gone, gone.error().text());
    CHECK(bus.devices.id_at({0, 4, 0}) == "kept");
    CHECK(bus.devices.id_at({0, 1, 0}).empty());
    MachineState again;
    REQUIRE(bus.devices.save(again));
    CHECK(again.disks == saved.disks);
    CHECK(again.rngs == saved.rngs);
    CHECK(again.consoles == saved.consoles);
    CHECK(again.vsocks == saved.vsocks);
    CHECK(again.gone_disks == saved.gone_disks);
    CHECK(bus.bridge->state() == saved.bridge);

    // They work, and each of their queues is looked at once.
    bus.devices.resume();
    PciDriver driver(bus.mmio, pci::Bdf{.bus = 0, .device = 1, .function = 0});
    REQUIRE(driver.probe());
    bus.devices.pause();
    MachineState later;
    REQUIRE(bus.devices.save(later));
    CHECK(later.disks == saved.disks);
    CHECK(later.gone_disks == saved.gone_disks);
}

TEST_CASE("devices of another segment go on there, and a segment that is not there is refused") {
    Host host;
    virtio::blk::Config far = Host::disk("far", host.first);
    far.pci_segment = 1;
    const virtio::blk::Config near = Host::disk("near", host.second);
    MachineState saved;
    {
        Bus0 bus(host);
        CHECK_FALSE(bus.devices.add(far, open(far)));
        const auto second = pci::Segment::create(bus.mmio, bus.ports, bus.memory.end(), 1, 2).value();
        Devices devices(
            {.memory = bus.memory, .space = bus.space, .interrupts = bus.interrupts, .kicks = bus.kicks},
            *bus.bridge, *host.engine);
        devices.add_segment(second->space, *second->bridge);
        CHECK(devices.add(far, open(far)).value() == pci::Bdf{0, 1, 0, 1});
        CHECK(devices.add(near, open(near)).value() == pci::Bdf{0, 1, 0, 0});
        CHECK(devices.id_at({0, 1, 0, 1}) == "far");
        CHECK(devices.address("far").value().text() == "0001:00:01.0");
        devices.disown("far");
        devices.pause();
        REQUIRE(devices.save(saved));
    }
    REQUIRE(saved.disks.size() == 1);
    CHECK(saved.disks[0].segment == 0);
    REQUIRE(saved.gone_disks.size() == 1);
    CHECK(saved.gone_disks[0].segment == 1);
    CHECK(saved.gone_disks[0].slot == 1);

    Bus0 bus(host);
    CHECK_FALSE(bus.devices.restore_gone(saved.gone_disks[0]));
    const auto second = pci::Segment::create(bus.mmio, bus.ports, bus.memory.end(), 1, 2).value();
    Devices devices(
        {.memory = bus.memory, .space = bus.space, .interrupts = bus.interrupts, .kicks = bus.kicks},
        *bus.bridge, *host.engine);
    devices.add_segment(second->space, *second->bridge);
    // Where it was, whatever the configuration says of the next boot.
    virtio::blk::Config moved = near;
    moved.pci_segment = 1;
    REQUIRE(devices.add(moved, open(moved), &saved.disks[0]));
    CHECK(devices.address("near").value() == pci::Bdf{0, 1, 0, 0});
    REQUIRE(devices.restore_gone(saved.gone_disks[0]));
    MachineState again;
    REQUIRE(devices.save(again));
    CHECK(again.disks == saved.disks);
    CHECK(again.gone_disks == saved.gone_disks);
    devices.remove({0, 1, 0, 1});
    CHECK(devices.has("near"));
    devices.remove({0, 1, 0, 0});
    CHECK_FALSE(devices.has("near"));
}

TEST_CASE("a slot that is taken twice, or is none, is refused") {
    Host host;
    const virtio::blk::Config config = Host::disk("disk", host.first);
    const virtio::rng::Config rng;
    MachineState saved;
    {
        Bus0 bus(host);
        REQUIRE(bus.devices.add(config, open(config)));
        REQUIRE(bus.devices.add(rng));
        bus.devices.pause();
        REQUIRE(bus.devices.save(saved));
    }
    for (const std::uint8_t slot : {std::uint8_t{0}, std::uint8_t{2}, std::uint8_t{32}, std::uint8_t{255}}) {
        Bus0 bus(host);
        saved.disks[0].slot = slot;
        REQUIRE(bus.devices.add(rng, &saved.rngs[0]));
        CHECK_FALSE(bus.devices.add(config, open(config), &saved.disks[0]));
    }
}

TEST_CASE("a state of another device is refused") {
    Host host;
    const virtio::blk::Config config = Host::disk("disk", host.first);
    Bus0 bus(host);
    REQUIRE(bus.devices.add(config, open(config)));
    bus.devices.pause();
    MachineState saved;
    REQUIRE(bus.devices.save(saved));

    Bus0 other(host);
    virtio::blk::Config queues = Host::disk("queues", host.second);
    queues.queues = 2;
    CHECK_FALSE(other.devices.add(queues, open(queues), &saved.disks[0]));
    virtio::blk::Config readonly = Host::disk("readonly", host.second);
    readonly.readonly = true;
    CHECK_FALSE(other.devices.add(readonly, open(readonly), &saved.disks[0]));
}
