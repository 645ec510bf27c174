// When a driver has to ring.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>
#include <latch>
#include <memory>
#include <thread>

#include "tests/unit/virtio/net_fixture.h"
#include "virtio/net/tx_queue.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::net;
using test::Buffer;
using test::DriverQueue;
using test::FakeTransport;
using test::Frame;
using test::kHeaderBytes;
using test::kPackets;

TEST_CASE("second looks go on while they find something, and are left out for a while when they do not") {
    SecondLook look;
    CHECK_FALSE(look.wanted(0, false));
    CHECK(look.wanted(3, false));
    CHECK(look.wanted(1, true));
    CHECK(look.wanted(0, false));  // something else woke the engine
    CHECK_FALSE(look.wanted(0, true));
    for (int i = 0; i < 32; ++i)
        CHECK_FALSE(look.wanted(1, false));
    CHECK(look.wanted(1, false));
    int looks = 0;
    while (look.wanted(0, false) && looks < 100)
        ++looks;
    CHECK(looks < 10);  // whatever else goes on, a doorbell is asked for in the end
}

TEST_CASE("no doorbell is needed while packets are on their way, and one is a moment later") {
    constexpr std::uint64_t kFeatures = virtio::feature::kVersion1 | virtio::feature::kEventIdx;
    auto engine = io::Engine::create().value();
    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    FakeTransport transport(2);
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
    const Fd wire(ends[1]);
    const Tap tap = Tap::adopt(Fd(ends[0]), "test").value();
    Backend backend{.name = "test", .rx = {*engine, {}, 1}, .tx = {*engine, {}, 1}};
    backend.pairs[0] = {.tap = {.fd = tap.fd()}, .active = true};
    QueueMetrics metrics;
    DriverQueue driver(memory, GuestAddress{64 * KiB}, 16, true);
    TxQueue queue({.index = 1,
                   .engine = *engine,
                   .memory = memory,
                   .hooks = transport,
                   .backend = backend,
                   .metrics = metrics,
                   .features = kFeatures},
                  Queue::create(memory, driver.config(), kFeatures, {}).value(), backend.pairs[0]);
    const Frame packet = test::frame(100, 1);
    REQUIRE(memory.write(kPackets, std::as_bytes(std::span(packet))));
    const auto add = [&] {
        REQUIRE(driver.add(std::array{Buffer{kPackets, static_cast<std::uint32_t>(packet.size()), false}}));
        return driver.publish();
    };

    engine->run_sync([&] {
        queue.start(transport.kicks[1].fd(), false);
        CHECK(add());
        queue.run_batch();  // taken; written when this round ends
        CHECK_FALSE(add());
    });
    for (std::uint16_t sent = 0; sent < 2;) {
        driver.set_used_event(sent);
        if (driver.take_used()) {
            ++sent;
        } else {
            REQUIRE(test::wait_for(transport.interrupts[1]));
        }
    }
    // What comes in that moment is found without one.
    while (driver.avail_event() != 2)
        std::this_thread::yield();
    CHECK(add());

    std::latch idle(1);
    engine->run_sync([&] { queue.stop(idle); });
    idle.wait();
    engine->run_sync([&] { engine->unschedule(queue); });
}
