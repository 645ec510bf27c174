// Save, construct, be equal, go on.
#include <doctest/doctest.h>

#include "tests/unit/pci/rig.h"

using namespace hako;
using namespace hako::test;
using virtio::PciTransport;
namespace status = hako::virtio::status;

namespace {

/// The state of a running device that was paused, with a masked vector that has something to say.
PciTransport::State running_state() {
    TransportRig rig;
    rig.bring_up();
    rig.driver->set_bar64(0, layout::kMmio32 + 0x10000);
    REQUIRE(rig.driver->probe());
    rig.driver->mask_vector(2, true);
    rig.log.hooks->config_changed();
    const std::uint64_t one = 1;
    CHECK(::write(rig.log.hooks->queue_interrupt(1), &one, sizeof one) == sizeof one);
    rig.driver->write(common::kQueueSelect, 2, 1);
    rig.transport->pause();
    CHECK(rig.log.pauses == 1);
    return rig.transport->state();
}

std::string refusal(PciTransport::State state) {
    PciRig rig;
    DeviceLog log;
    const auto made = PciTransport::create(
        "disk0", std::make_unique<FakeDevice>(log),
        {.memory = rig.memory, .space = rig.space, .interrupts = rig.interrupts, .kicks = rig.kicks},
        std::move(state));
    if (made) return "";
    CHECK(made.error().fault() == Fault::kInput);
    CHECK(rig.kicks.connected.empty());
    return made.error().text();
}

}  // namespace

TEST_CASE("a new transport equals the one built from its state") {
    PciTransport::State saved;
    {
        const TransportRig rig;
        saved = rig.transport->state();
    }
    const TransportRig rig(saved);
    CHECK(rig.transport->state() == saved);
}

TEST_CASE("a running transport equals the one built from its state, before and after it goes on") {
    const PciTransport::State saved = running_state();
    CHECK(saved.queues[0].next_avail == 7);
    CHECK(saved.queues[0].next_used == 5);
    CHECK(saved.msix.pending == std::vector<std::uint64_t>{4});
    TransportRig rig(saved);
    CHECK(rig.transport->state() == saved);
    CHECK(rig.log.activations == 0);

    rig.transport->resume();
    REQUIRE(rig.log.activations == 1);
    CHECK(rig.log.features == FakeDevice::kFeatures);
    REQUIRE(rig.log.positions.size() == 2);
    CHECK(rig.log.positions[0].next_avail == 7);
    CHECK(rig.log.positions[0].next_used == 5);
    CHECK(rig.log.positions[1].next_avail == 3);
    CHECK(rig.log.queues[1].descriptors == TransportRig::queue(1).descriptors);
    CHECK(rig.driver->bar(0) == layout::kMmio32 + 0x10000);
    CHECK(rig.kicks.connected.contains(rig.driver->notify_address(0)));

    // Whatever was lost on the way is asked for once more.
    CHECK(rig.log.kicks[0]->take() == 1);
    CHECK(rig.log.kicks[1]->take() == 1);
    CHECK(rig.interrupted(0x40));
    CHECK(rig.interrupted(0x41));
    CHECK_FALSE(rig.interrupted(0x42));
    rig.driver->mask_vector(2, false);
    CHECK(rig.interrupted(0x42));

    rig.driver->mask_vector(2, true);
    rig.transport->pause();
    rig.transport->resume();
    CHECK(rig.log.resumes == 1);
    CHECK(rig.log.kicks[0]->take() == 0);
    rig.transport->pause();
    PciTransport::State again = rig.transport->state();
    CHECK(again.queues == saved.queues);
    CHECK(again.function == saved.function);
}

TEST_CASE("a restored device that the driver had not started waits for DRIVER_OK") {
    PciTransport::State saved;
    {
        TransportRig rig;
        rig.driver->enable();
        REQUIRE(rig.driver->negotiate(FakeDevice::kFeatures));
        rig.driver->set_queue(0, TransportRig::queue(0), 1);
        saved = rig.transport->state();
    }
    TransportRig rig(saved);
    rig.transport->resume();
    CHECK(rig.log.activations == 0);
    rig.driver->driver_ok();
    CHECK(rig.log.activations == 1);
    CHECK(rig.log.positions.empty());
    CHECK(rig.log.queues[0].enabled);
    CHECK_FALSE(rig.log.queues[1].enabled);
}

TEST_CASE("a restored device that waited for its reset still does") {
    PciTransport::State saved;
    {
        TransportRig rig;
        rig.bring_up();
        rig.log.hooks->needs_reset("a test");
        rig.transport->pause();
        saved = rig.transport->state();
    }
    TransportRig rig(saved);
    rig.transport->resume();
    CHECK(rig.log.activations == 0);
    CHECK(rig.transport->state() == saved);
    rig.bring_up();
    CHECK(rig.log.activations == 1);
    CHECK(rig.log.positions.empty());
}

TEST_CASE("a restored device whose queues are unusable tells the driver and the VM goes on") {
    TransportRig rig(running_state());
    rig.device->refuse = "the rings lie outside memory";
    rig.transport->resume();
    CHECK((rig.driver->status() & status::kNeedsReset) != 0);
    CHECK(rig.interrupted(0x40));
}

TEST_CASE("a device that gets DRIVER_OK while paused starts when it is resumed") {
    TransportRig rig;
    rig.transport->pause();
    rig.bring_up();
    CHECK((rig.driver->status() & status::kDriverOk) != 0);
    CHECK(rig.log.activations == 0);
    rig.transport->resume();
    CHECK(rig.log.activations == 1);
    CHECK(rig.log.resumes == 0);
}

TEST_CASE("pausing and resuming twice is once, and does not touch an idle device") {
    TransportRig rig;
    rig.transport->resume();
    rig.transport->pause();
    rig.transport->pause();
    CHECK(rig.log.pauses == 0);
    rig.transport->resume();
    rig.bring_up();
    rig.transport->pause();
    rig.transport->pause();
    rig.transport->resume();
    rig.transport->resume();
    CHECK(rig.log.pauses == 1);
    CHECK(rig.log.resumes == 1);
}

TEST_CASE("state that no device of this kind can be in is refused") {
    const PciTransport::State good = running_state();
    CHECK(refusal(good).empty());
    const auto refused = [&](auto change) {
        PciTransport::State bad = good;
        change(bad);
        return !refusal(bad).empty();
    };
    using State = PciTransport::State;
    CHECK(refused([](State& s) { s.queues.pop_back(); }));
    CHECK(refused([](State& s) { s.queues[0].size = 512; }));
    CHECK(refused([](State& s) { s.queues[0].size = 0; }));
    CHECK(refused([](State& s) { s.queues[1].size = 33; }));
    CHECK(refused([](State& s) { s.queues[1].vector = 3; }));
    CHECK(refused([](State& s) { s.config_vector = 0x700; }));
    CHECK(refused([](State& s) { s.driver_features |= std::uint64_t{1} << 50; }));
    CHECK(refused([](State& s) { s.status = 0xff; }));
    CHECK(refused([](State& s) { s.status = status::kDriverOk; }));
    CHECK(refused([](State& s) { s.msix.entries.pop_back(); }));
    CHECK(refused([](State& s) { s.msix.pending.clear(); }));
    CHECK(refused([](State& s) { s.function.config.bytes[2] ^= 1; }));
    CHECK(refused([](State& s) { s.function.bar_homes[0] = 0; }));
    CHECK(refused([](State& s) { s.function.bar_homes[0] = 64 * GiB + 0x1000; }));
}
