#include "devices/pci/msix.h"

#include <doctest/doctest.h>

#include "tests/unit/base/fake_interrupts.h"
#include "vmm/bus/bus.h"

using namespace hako;
using namespace hako::pci;

namespace {

constexpr std::uint64_t kApic = 0xfee00000;

void write(Msix& msix, std::uint64_t offset, std::size_t length, std::uint64_t value) {
    std::array<std::byte, 8> data{};
    store_le(data, value);
    msix.write_table(offset, std::span<const std::byte>(data).first(length));
}
std::uint64_t read(const Msix& msix, std::uint64_t offset, std::size_t length) {
    std::array<std::byte, 8> data{};
    msix.read_table(offset, std::span(data).first(length));
    return load_le(std::span(data).first(length));
}
std::uint64_t pending(const Msix& msix, std::uint64_t offset, std::size_t length) {
    std::array<std::byte, 8> data{};
    msix.read_pending(offset, std::span(data).first(length));
    return load_le(std::span(data).first(length));
}
void set_entry(Msix& msix, std::uint16_t vector, std::uint32_t data, bool masked) {
    write(msix, vector * Msix::kEntrySize, 8, kApic);
    write(msix, vector * Msix::kEntrySize + 8, 8, data | std::uint64_t{masked} << 32);
}
Msix make(InterruptController& controller, std::uint16_t vectors, const Msix::State* restored = nullptr) {
    return std::move(Msix::create(controller, vectors, restored).value());
}

/// Refuses the next so many routes, as KVM may.
class RefusingInterrupts final : public InterruptController {
  public:
    Result<std::uint32_t> allocate_gsi() override { return inner.allocate_gsi(); }
    void free_gsi(std::uint32_t gsi) override { inner.free_gsi(gsi); }
    Result<> set_route(std::uint32_t gsi, const MsiMessage& message) override {
        if (refusals-- > 0) return fail_host("no");
        return inner.set_route(gsi, message);
    }
    Result<> connect(std::uint32_t gsi, int eventfd) override { return inner.connect(gsi, eventfd); }
    Result<> disconnect(std::uint32_t gsi, int eventfd) override { return inner.disconnect(gsi, eventfd); }

    test::FakeInterrupts inner;
    int refusals = 1;
};

}  // namespace

TEST_CASE("vectors start masked and are connected once on and unmasked") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 3);
    CHECK(read(msix, 12, 4) == 1);
    CHECK(read(msix, 16 + 8, 8) == std::uint64_t{1} << 32);
    set_entry(msix, 1, 0x41, false);
    CHECK(controller.connected.empty());

    msix.set_control(Msix::kControlEnable, true);
    REQUIRE(controller.connected.size() == 1);
    const auto gsi = controller.connected.begin()->first;
    CHECK(controller.connected.at(gsi) == msix.event(1)->fd());
    CHECK(controller.routes.at(gsi) == MsiMessage{kApic, 0x41});
    CHECK(msix.event(3) == nullptr);
    CHECK(msix.event(0xffff) == nullptr);
}

TEST_CASE("the function mask, the enable bit and the bus-master bit each hold vectors back") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 2);
    set_entry(msix, 0, 0x41, false);
    msix.set_control(Msix::kControlEnable, true);
    REQUIRE(controller.connected.size() == 1);
    const auto held_back = [&](std::uint16_t control, bool bus_master) {
        msix.set_control(control, bus_master);
        CHECK(controller.connected.empty());
        msix.event(0)->signal();
        CHECK(pending(msix, 0, 8) == 1);
        msix.set_control(Msix::kControlEnable, true);
        CHECK(controller.connected.size() == 1);
        CHECK(pending(msix, 0, 8) == 0);
        CHECK(msix.event(0)->take() == 1);  // KVM would have delivered it on connect
    };
    held_back(Msix::kControlEnable | Msix::kControlMask, true);
    held_back(0, true);
    held_back(Msix::kControlEnable, false);
}

TEST_CASE("a masked vector shows its pending bit and can be steered elsewhere before it is delivered") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 70);
    msix.set_control(Msix::kControlEnable, true);
    set_entry(msix, 69, 0x41, false);
    write(msix, 69 * 16 + 12, 4, 1);
    msix.event(69)->signal();
    CHECK(pending(msix, 0, 8) == 0);
    CHECK(pending(msix, 8, 8) == 1U << 5);
    CHECK(pending(msix, 8, 4) == 1U << 5);
    CHECK(pending(msix, 12, 4) == 0);
    write(msix, 69 * 16 + 8, 4, 0x52);
    write(msix, 69 * 16 + 12, 4, 0);
    CHECK(controller.routes.begin()->second.data == 0x52);
    CHECK(pending(msix, 8, 8) == 0);
    msix.event(69)->take();
}

TEST_CASE("a live vector can be reprogrammed") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 1);
    msix.set_control(Msix::kControlEnable, true);
    set_entry(msix, 0, 0x41, false);
    write(msix, 0, 4, kApic | 0x1000);
    CHECK(controller.routes.begin()->second == MsiMessage{kApic | 0x1000, 0x41});
    write(msix, 4, 4, 0x100);
    CHECK(controller.routes.begin()->second.address == 0x100'fee01000);
    CHECK(controller.connected.size() == 1);
}

TEST_CASE("a message that is no interrupt never reaches the routing table") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 1);
    msix.set_control(Msix::kControlEnable, true);
    for (const std::uint64_t address :
         {std::uint64_t{0}, std::uint64_t{0x1000}, std::uint64_t{0x1'fee00000}}) {
        write(msix, 12, 4, 1);
        write(msix, 0, 8, address);
        write(msix, 12, 4, 0);
        CHECK(controller.connected.empty());
        CHECK(controller.routes.empty());
    }
    msix.event(0)->signal();
    write(msix, 0, 8, kApic);
    CHECK(controller.connected.size() == 1);
}

TEST_CASE("odd widths and places outside the table do nothing") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 2);
    set_entry(msix, 0, 0x41, true);
    const Msix::State before = msix.state();
    write(msix, 0, 2, 0xffff);
    write(msix, 0, 1, 0xff);
    write(msix, 2, 4, 0xffffffff);
    write(msix, 4, 8, UINT64_MAX);
    write(msix, 32, 4, 0xffffffff);
    write(msix, 32, 8, UINT64_MAX);
    write(msix, UINT64_MAX - 7, 8, UINT64_MAX);
    CHECK(msix.state() == before);
    CHECK(read(msix, 0, 2) == 0);
    CHECK(read(msix, 4, 8) == 0);
    CHECK(read(msix, 32, 4) == 0);
    CHECK(pending(msix, 8, 8) == 0);
    CHECK(pending(msix, 0, 1) == 0);
}

TEST_CASE("reserved bits of an entry stay clear") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 1);
    write(msix, 0, 8, UINT64_MAX);
    write(msix, 8, 8, UINT64_MAX);
    CHECK(read(msix, 0, 8) == (UINT64_MAX & ~std::uint64_t{3}));
    CHECK(read(msix, 8, 8) == 0x1'ffffffff);
}

TEST_CASE("no free route leaves the vector pending, not the VM dead") {
    test::FakeInterrupts controller;
    controller.limit = controller.next_gsi;
    Msix msix = make(controller, 1);
    msix.set_control(Msix::kControlEnable, true);
    set_entry(msix, 0, 0x41, false);
    msix.event(0)->signal();
    CHECK(pending(msix, 0, 8) == 1);
}

TEST_CASE("a restored table has the same entries, and what was pending is delivered when it is unmasked") {
    test::FakeInterrupts controller;
    Msix::State saved;
    {
        Msix msix = make(controller, 3);
        msix.set_control(Msix::kControlEnable, true);
        set_entry(msix, 0, 0x41, false);
        set_entry(msix, 2, 0x43, true);
        msix.event(2)->signal();
        saved = msix.state();
    }
    REQUIRE(controller.connected.empty());
    Msix msix = make(controller, 3, &saved);
    CHECK(msix.state() == saved);
    CHECK(controller.connected.empty());
    msix.set_control(Msix::kControlEnable, true);
    CHECK(controller.connected.size() == 1);
    CHECK(pending(msix, 0, 8) == 4);
    write(msix, 2 * 16 + 12, 4, 0);
    CHECK(controller.connected.size() == 2);
    CHECK(msix.event(2)->pending());
}

TEST_CASE("a saved table of another size is refused") {
    test::FakeInterrupts controller;
    const Msix::State saved = make(controller, 3).state();
    CHECK_FALSE(Msix::create(controller, 4, &saved));
    Msix::State torn = saved;
    torn.pending.clear();
    CHECK_FALSE(Msix::create(controller, 3, &torn));
    CHECK_FALSE(Msix::create(controller, 0, nullptr));
    CHECK_FALSE(Msix::create(controller, Msix::kMaxVectors + 1, nullptr));
}

TEST_CASE("dropping what is pending leaves nothing to deliver") {
    test::FakeInterrupts controller;
    Msix msix = make(controller, 2);
    msix.event(1)->signal();
    msix.drop_pending();
    CHECK(pending(msix, 0, 8) == 0);
}

TEST_CASE("a route that was refused is tried again at the next unmasking") {
    RefusingInterrupts controller;
    Msix msix = make(controller, 1);
    msix.set_control(Msix::kControlEnable, true);
    set_entry(msix, 0, 0x41, false);
    CHECK(controller.inner.connected.empty());
    write(msix, 12, 4, 1);
    write(msix, 12, 4, 0);
    CHECK(controller.inner.connected.size() == 1);
    CHECK(controller.inner.routes.begin()->second == MsiMessage{kApic, 0x41});
}
