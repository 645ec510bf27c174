// A guest that writes anything anywhere. Sanitizers and library assertions judge; the bus must stay sane.
#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/unit/pci/rig.h"

using namespace hako;
using namespace hako::test;

namespace {

constexpr std::array<std::size_t, 4> kWidths = {1, 2, 4, 8};
constexpr int kAccesses = 100'000;

/// Small numbers, all ones and plausible addresses more often than chance has them.
std::uint64_t value(std::mt19937_64& random) {
    switch (random() % 6) {
        case 0:
            return 0;
        case 1:
            return UINT64_MAX;
        case 2:
            return random() % 16;
        case 3:
            return 0xfee00000 | (random() & 0xff000);
        case 4:
            return std::uint64_t{1} << random() % 64;
        default:
            return random();
    }
}

}  // namespace

TEST_CASE("random configuration and BAR accesses never get out of hand") {
    std::mt19937_64 random(20240607);
    TransportRig rig({}, {256, 64, 1024});
    PciDriver& driver = *rig.driver;
    const std::uint64_t home = driver.bar(0);
    int activations = 0;
    for (int i = 0; i < kAccesses; ++i) {
        const std::size_t width = kWidths[random() % kWidths.size()];
        const bool write = random() % 2 == 0;
        switch (random() % 8) {
            case 0: {  // anywhere in the slot's configuration space, by either way
                const std::uint64_t offset = random() % 4 == 0 ? random() % 0x1000 : random() % 0x100;
                if (write)
                    bus_write(rig.mmio, driver.config_address(0) + offset, width, value(random));
                else
                    bus_read(rig.mmio, driver.config_address(0) + offset, width);
                break;
            }
            case 1: {
                const std::uint64_t port = 0xcf8 + random() % 8;
                if (random() % 2 == 0) bus_write(rig.ports, 0xcf8, 4, 0x80000000 | (random() & 0x1ffc));
                if (write)
                    bus_write(rig.ports, port, width, value(random));
                else
                    bus_read(rig.ports, port, width);
                break;
            }
            case 2:  // other slots, other functions
                if (write)
                    bus_write(rig.mmio, layout::kEcam + random() % layout::kEcamSize, width, value(random));
                else
                    bus_read(rig.mmio, layout::kEcam + random() % layout::kEcamSize, width);
                break;
            case 3:  // back to life every now and then
                if (random() % 64 == 0) {
                    driver.set_bar64(0, home);
                    rig.bring_up();
                    activations += rig.log.active ? 1 : 0;
                }
                break;
            case 4:
                if (random() % 8 == 0 && rig.log.hooks != nullptr) {
                    rig.log.hooks->config_changed();
                    const int event =
                        rig.log.hooks->queue_interrupt(static_cast<std::uint16_t>(random() % 4));
                    const std::uint64_t one = 1;
                    if (event >= 0) CHECK(::write(event, &one, sizeof one) == sizeof one);
                }
                break;
            default: {  // the BAR, most of all its common configuration
                const std::uint64_t base = rig.transport->mapped_at(0).value_or(home);
                std::uint64_t offset = random() % virtio::PciTransport::kBarSize;
                if (random() % 2 == 0) offset = random() % 0x48;
                if (write)
                    bus_write(rig.mmio, base + offset, width, value(random));
                else
                    bus_read(rig.mmio, base + offset, width);
            }
        }
    }
    CHECK(activations > 10);

    // After all that a good driver still finds its device.
    driver.set_bar64(0, home);
    driver.enable();
    rig.bring_up();
    CHECK(rig.log.active);
    CHECK(driver.status() == 0xf);

    // And its state can be carried on.
    rig.transport->pause();
    const auto saved = rig.transport->state();
    const TransportRig again(saved, {256, 64, 1024});
    CHECK(again.transport->state() == saved);
}

TEST_CASE("vCPUs, an io thread and the control thread may all be at it at once") {
    TransportRig rig;
    rig.bring_up();
    const std::uint64_t home = rig.driver->bar(0);
    virtio::TransportHooks& hooks = *rig.log.hooks;
    std::atomic<bool> done = false;

    std::vector<std::thread> vcpus;
    for (unsigned seed = 1; seed <= 2; ++seed) {
        vcpus.emplace_back([&, seed] {
            std::mt19937_64 random(seed);
            PciDriver driver(rig.mmio, rig.where);
            for (int i = 0; i < 5'000; ++i) {
                const std::uint64_t offset = random() % 3 == 0 ? 0x4000 + random() % 0x30 : random() % 0x40;
                switch (random() % 5) {
                    case 0:
                        bus_read(rig.mmio, home + offset, kWidths[random() % 4]);
                        break;
                    case 1:
                        bus_write(rig.mmio, home + offset, kWidths[random() % 4], value(random));
                        break;
                    case 2:
                        bus_write(rig.mmio, home + common::kStatus, 1, random() % 16);
                        break;
                    case 3:
                        driver.set_command(static_cast<std::uint16_t>(random() % 8));
                        break;
                    default:
                        driver.config(static_cast<std::uint16_t>(random() % 0x100), 4);
                }
            }
        });
    }
    std::thread io([&] {
        while (!done) {
            hooks.config_changed();
            hooks.needs_reset("a test");
            CHECK(hooks.queue_interrupt(2) == -1);
        }
    });
    std::thread control([&] {
        while (!done) {
            rig.transport->pause();
            rig.transport->resume();
        }
    });
    for (std::thread& vcpu : vcpus)
        vcpu.join();
    done = true;
    io.join();
    control.join();

    rig.driver->set_bar64(0, home);
    rig.bring_up();
    CHECK(rig.log.active);
}
