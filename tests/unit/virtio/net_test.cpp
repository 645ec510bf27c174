#include <algorithm>
#include <array>
#include <vector>

#include "tests/unit/virtio/net_fixture.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::net;
using test::Buffer;
using test::Frame;
using test::frame;
using test::kHeaderBytes;
using test::kPackets;
using test::NetFixture;
using test::nic_config;

namespace {

constexpr std::uint32_t kBufferBytes = 2048;

/// An engine of its own for a test, with one interface.
struct OneNic {
    explicit OneNic(const Config& config = nic_config()) : net(*engine, config) {}

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    NetFixture net;
};

/// What follows the header of `packet`.
Frame body(const Frame& packet) {
    return {packet.begin() + kHeaderBytes, packet.end()};
}

}  // namespace

TEST_CASE("a packet of the guest leaves through the tap as it is, however it is cut") {
    OneNic nic;
    nic.net.activate();
    const Frame whole = frame(1514, 1);
    nic.net.send(whole);
    CHECK(nic.net.departed() == whole);

    // Header and data in pieces, by an indirect table with more buffers than a slot holds itself.
    std::vector<Buffer> pieces = {{kPackets, 5, false}, {kPackets + 5, 20, false}};
    for (std::uint32_t at = 25; at < 1525; at += 20)
        pieces.push_back({kPackets + at, 20, false});
    pieces.push_back({kPackets + 1525, 1, false});
    REQUIRE(nic.net.drivers[1].add_indirect(pieces, GuestAddress{1 * MiB}));
    nic.net.kick(1);
    REQUIRE(nic.net.await(1));
    CHECK(nic.net.departed() == whole);
    CHECK(nic.net.device->metrics(1).packets == 2);
    CHECK(nic.net.device->metrics(1).bytes == 2 * 1514);
}

TEST_CASE("packets leave in their order, one interrupt for many") {
    OneNic nic;
    nic.net.activate();
    for (std::uint8_t i = 0; i < 64; ++i) {
        nic.net.put(kPackets + std::uint64_t{4096} * i, frame(60, i));
        REQUIRE(nic.net.drivers[1].add(
            std::array{Buffer{kPackets + std::uint64_t{4096} * i, kHeaderBytes + 60, false}}));
    }
    nic.net.kick(1);
    for (std::uint8_t i = 0; i < 64; ++i)
        REQUIRE(nic.net.await(1));
    std::uint8_t next = 0;
    while (const auto packet = nic.net.departed(0, 0)) {
        CHECK(*packet == frame(60, next));
        ++next;
    }
    const Metrics metrics = nic.net.device->metrics(1);
    CHECK(metrics.packets == next);
    CHECK(metrics.packets + metrics.dropped == 64);  // a socket holds few; what is over is dropped
    CHECK(metrics.interrupts < 16);
}

TEST_CASE("a packet from the tap lands in the driver's buffer, with its header") {
    OneNic nic;
    nic.net.activate();
    nic.net.memory.start_dirty_tracking();
    const std::uint16_t head = nic.net.offer(kPackets, kBufferBytes);
    nic.net.kick(0);
    const Frame packet = frame(900, 7, 2);
    nic.net.arrive(packet);
    const auto used = nic.net.await(0);
    REQUIRE(used);
    CHECK(used->head == head);
    CHECK(used->written == packet.size());
    CHECK(body(nic.net.get(kPackets, packet.size())) == body(packet));
    CHECK(nic.net.header(kPackets).num_buffers == 1);
    CHECK(nic.net.header(kPackets).flags == 2);
    nic.net.device->reset();
    CHECK(nic.net.device->metrics(0).packets == 1);
    CHECK(nic.net.device->metrics(0).bytes == 900);
}

TEST_CASE("packets wait for buffers and arrive in their order") {
    OneNic nic;
    nic.net.activate();
    for (std::uint8_t i = 0; i < 8; ++i)
        nic.net.arrive(frame(100, i));
    for (std::uint8_t round = 0; round < 8; round = static_cast<std::uint8_t>(round + 2)) {
        nic.net.offer(kPackets, kBufferBytes);
        nic.net.offer(kPackets + 4096, kBufferBytes);
        nic.net.kick(0);
        for (std::uint8_t i = 0; i < 2; ++i) {
            REQUIRE(nic.net.await(0));
            CHECK(body(nic.net.get(kPackets + std::uint64_t{4096} * i, kHeaderBytes + 100)) ==
                  body(frame(100, static_cast<std::uint8_t>(round + i))));
        }
    }
    CHECK(nic.net.device->metrics(0).dropped == 0);
}

TEST_CASE("mergeable buffers: a large packet spans chains of any size, and waits for the last of them") {
    OneNic nic;
    nic.net.activate();
    const Frame packet = frame(65000, 3, 1);
    // Smaller than its header's share and larger, plain and indirect.
    const std::array<std::uint32_t, 4> lengths = {12, 1500, 4096, 33000};
    std::uint64_t at = 0;
    std::vector<Buffer> chains;
    for (const std::uint32_t length : lengths) {
        chains.push_back({kPackets + at, length, true});
        at += length;
    }
    REQUIRE(nic.net.drivers[0].add(
        std::array{Buffer{chains[0].address, 7, true}, Buffer{chains[0].address + 7, 5, true}}));
    REQUIRE(nic.net.drivers[0].add_indirect(
        std::array{Buffer{chains[1].address, 1000, true}, Buffer{chains[1].address + 1000, 500, true}},
        GuestAddress{1 * MiB}));
    nic.net.offer(chains[2].address, chains[2].length);
    nic.net.offer(chains[3].address, chains[3].length);
    nic.net.kick(0);
    nic.net.arrive(packet);
    nic.net.engine_round();
    CHECK_FALSE(nic.net.drivers[0].take_used());
    nic.net.offer(kPackets + at, 60000);
    nic.net.kick(0);

    std::uint64_t total = 0;
    for (const std::uint32_t length : {12U, 1500U, 4096U, 33000U, 65012U - 38608U}) {
        const auto used = nic.net.await(0);
        REQUIRE(used);
        CHECK(used->written == length);
        total += used->written;
    }
    CHECK(total == packet.size());
    CHECK(body(nic.net.get(kPackets, packet.size())) == body(packet));
    CHECK(nic.net.header(kPackets).num_buffers == 5);
    CHECK(nic.net.header(kPackets).flags == 1);
}

TEST_CASE("a packet that the whole queue cannot hold is dropped, and the next one comes") {
    OneNic nic(nic_config(1, 16));
    nic.net.activate();
    for (std::uint64_t i = 0; i < 16; ++i)
        nic.net.offer(kPackets + 4096 * i, 100);
    nic.net.kick(0);
    nic.net.arrive(frame(5000, 1));
    nic.net.arrive(frame(150, 2));
    const auto first = nic.net.await(0);
    const auto second = nic.net.await(0);
    REQUIRE(first);
    REQUIRE(second);
    CHECK(first->written == 100);
    CHECK(second->written == 62);
    CHECK(nic.net.device->metrics(0).dropped == 1);
}

TEST_CASE("without mergeable buffers a packet takes one chain, or is dropped") {
    OneNic nic;
    nic.net.activate(net::feature::kMergeableBuffers | net::feature::kGuestCsum);
    REQUIRE(
        nic.net.drivers[0].add(std::array{Buffer{kPackets, 12, true}, Buffer{kPackets + 12, 1514, true}}));
    nic.net.offer(kPackets + 4096, 500);
    nic.net.offer(kPackets + 8192, kBufferBytes);
    nic.net.kick(0);
    nic.net.arrive(frame(1514, 1, 2));
    nic.net.arrive(frame(1000, 2));
    nic.net.arrive(frame(1000, 3));
    auto used = nic.net.await(0);
    REQUIRE(used);
    CHECK(used->written == 1526);
    CHECK(nic.net.header(kPackets).num_buffers == 1);
    CHECK(nic.net.header(kPackets).flags == 0);  // GUEST_CSUM was not negotiated
    used = nic.net.await(0);
    REQUIRE(used);
    CHECK(used->written == 0);
    used = nic.net.await(0);
    REQUIRE(used);
    CHECK(used->written == 1012);
    CHECK(body(nic.net.get(kPackets + 8192, 1012)) == body(frame(1000, 3)));
    CHECK(nic.net.device->metrics(0).dropped == 1);
}

TEST_CASE("chains that are no packet come back, and are counted") {
    OneNic nic;
    nic.net.activate();
    const std::array wrong = {
        std::vector<Buffer>{{kPackets, 11, false}},
        std::vector<Buffer>{{kPackets, 12, false}},
        std::vector<Buffer>{{kPackets, 100, true}},
        std::vector<Buffer>{{kPackets, 100, false}, {kPackets + 100, 1, true}},
    };
    for (const auto& buffers : wrong) {
        REQUIRE(nic.net.drivers[1].add(buffers));
        nic.net.kick(1);
        const auto used = nic.net.await(1);
        REQUIRE(used);
        CHECK(used->written == 0);
    }
    CHECK(nic.net.device->metrics(1).errors == wrong.size());
    CHECK(nic.net.transport.reset_reason().empty());
    nic.net.send(frame(60, 1));
    CHECK(nic.net.departed() == frame(60, 1));
}

TEST_CASE("a queue that breaks the rules stops all queues until reset") {
    const auto broken_by = [](std::size_t queue, std::vector<Buffer> buffers) {
        OneNic nic;
        nic.net.activate();
        nic.net.arrive(frame(60, 1));
        REQUIRE(nic.net.drivers[queue].add(buffers));
        nic.net.kick(queue);
        CHECK(test::wait_for(nic.net.transport.reset_wanted));
        nic.net.device->reset();
        return nic.net.transport.reset_reason();
    };
    CHECK(broken_by(0, {{kPackets, 100, false}}) == "a receive buffer is not for the device to write");
    CHECK(broken_by(0, {{kPackets, 100, false}, {kPackets, 100, true}}) ==
          "a receive buffer is not for the device to write");
    CHECK(broken_by(0, {{kPackets, 11, true}}) == "a receive buffer is shorter than the header");
    CHECK(broken_by(0, {{GuestAddress{1024 * GiB}, 2000, true}}) == "a buffer lies outside guest memory");
    CHECK(broken_by(1, {{kPackets, 0, false}}) == "a descriptor has length 0");
    CHECK(broken_by(2, {{kPackets, 4, false}}) == "a control command has no room for its answer");
}

TEST_CASE("after a fault and a reset the device works again") {
    OneNic nic;
    nic.net.activate();
    REQUIRE(nic.net.drivers[1].add(std::array{Buffer{kPackets, 0, false}}));
    nic.net.kick(1);
    REQUIRE(test::wait_for(nic.net.transport.reset_wanted));
    nic.net.device->reset();
    nic.net.device->reset();
    nic.net.make_drivers();
    nic.net.activate();
    nic.net.send(frame(60, 1));
    CHECK(nic.net.departed() == frame(60, 1));
}

TEST_CASE("control commands: what is known is done, all else is refused") {
    OneNic nic(nic_config(2));
    nic.net.activate();
    CHECK(nic.net.device->state().guest_offloads == kGuestOffloads);
    CHECK(nic.net.set_offloads(0, 0) == 0);
    CHECK(nic.net.device->state().guest_offloads == 0);
    CHECK(nic.net.set_offloads(0x82, 0) == 0);  // CSUM, TSO4
    CHECK(nic.net.device->state().guest_offloads == 0x82);
    CHECK(nic.net.set_offloads(0x80, 0) == 1);  // TSO4 alone
    CHECK(nic.net.set_offloads(0x02, 0x40) == 1);
    CHECK(nic.net.set_pairs(0) == 1);
    CHECK(nic.net.set_pairs(3) == 1);
    CHECK(nic.net.command({4, 0, 1}) == 1);
    CHECK(nic.net.command({4, 0, 1, 0, 0}) == 1);
    CHECK(nic.net.command({4, 1, 1, 0}) == 1);
    CHECK(nic.net.command({5, 0, 0, 0}) == 1);
    CHECK(nic.net.command({5, 1, 0, 0, 0, 0, 0, 0, 0, 0}) == 1);
    CHECK(nic.net.command({0, 2, 1}) == 1);
    CHECK(nic.net.command({9}) == 1);
    CHECK(nic.net.command(Frame(200, 4)) == 1);
    CHECK(nic.net.device->state().queue_pairs == 1);
    CHECK(nic.net.device->state().guest_offloads == 0x82);
    CHECK(nic.net.device->metrics(4).errors == 12);
}

TEST_CASE("the network is told where the driver is, whether or not the driver can do it") {
    OneNic nic;
    nic.net.activate(net::feature::kGuestAnnounce);
    nic.net.device->announce_for_driver();
    std::array<std::uint8_t, 100> got{};
    REQUIRE(::recv(nic.net.wires[0].get(), got.data(), got.size(), MSG_DONTWAIT) == 12 + 60);
    const net::Mac mac = nic.net.config_space().mac;
    const std::vector<std::uint8_t> frame(got.begin() + 12, got.begin() + 12 + 42);
    std::vector<std::uint8_t> wanted(6, 0xff);
    const auto add = [&](std::initializer_list<std::uint8_t> bytes) { wanted.insert(wanted.end(), bytes); };
    wanted.insert(wanted.end(), mac.begin(), mac.end());
    add({0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3});
    wanted.insert(wanted.end(), mac.begin(), mac.end());
    add({0, 0, 0, 0});
    wanted.insert(wanted.end(), mac.begin(), mac.end());
    add({0, 0, 0, 0});
    CHECK(frame == wanted);
    CHECK(std::ranges::all_of(std::span(got).first(12), [](std::uint8_t byte) { return byte == 0; }));

    // Not while the cable is out.
    nic.net.device->set_link(false);
    nic.net.device->announce_for_driver();
    CHECK(::recv(nic.net.wires[0].get(), got.data(), got.size(), MSG_DONTWAIT) < 0);
}

TEST_CASE("the driver announces itself when it is asked to, and says when it has") {
    OneNic nic;
    CHECK_FALSE(nic.net.device->announce());  // there is no driver
    nic.net.activate();
    CHECK(nic.net.config_space().status == 1);
    CHECK(nic.net.device->announce());
    CHECK(test::wait_for(nic.net.transport.config_change));
    CHECK(nic.net.config_space().status == 3);
    CHECK(nic.net.device->state().announce);
    CHECK(nic.net.command({3, 1}) == 1);
    CHECK(nic.net.command({3, 0, 0}) == 1);
    CHECK(nic.net.config_space().status == 3);
    CHECK(nic.net.command({3, 0}) == 0);
    CHECK(nic.net.config_space().status == 1);
    CHECK_FALSE(nic.net.device->state().announce);

    CHECK(nic.net.device->announce());
    nic.net.device->reset();
    CHECK(nic.net.config_space().status == 1);
    nic.net.make_drivers();
    nic.net.activate(net::feature::kGuestAnnounce);
    CHECK_FALSE(nic.net.device->announce());  // it does not know how
    CHECK(nic.net.config_space().status == 1);
    CHECK(nic.net.command({3, 0}) == 1);
}

TEST_CASE("receive modes and addresses are taken, and are the driver's own") {
    OneNic nic;
    nic.net.activate();
    const Mac first = nic.net.config_space().mac;
    CHECK(nic.net.command({0, 0, 1}) == 0);  // promiscuous
    CHECK(nic.net.command({0, 1, 1}) == 0);  // all multicast
    CHECK(nic.net.device->state().promiscuous);
    CHECK(nic.net.device->state().all_multicast);
    CHECK(nic.net.command({0, 0, 0}) == 0);
    CHECK_FALSE(nic.net.device->state().promiscuous);
    CHECK(nic.net.command({0, 0, 2}) == 1);
    CHECK(nic.net.command({0, 0}) == 1);

    const Mac chosen = {2, 0, 0, 0, 0, 9};
    CHECK(nic.net.command({1, 1, 2, 0, 0, 0, 0, 9}) == 0);
    CHECK(nic.net.config_space().mac == chosen);
    CHECK(nic.net.device->state().used_mac == chosen);
    CHECK(nic.net.device->state().mac == first);
    CHECK(nic.net.command({1, 1, 1, 0, 0, 0, 0, 9}) == 1);  // multicast
    CHECK(nic.net.command({1, 1, 2, 0, 0, 0, 0}) == 1);
    CHECK(nic.net.config_space().mac == chosen);

    // Tables of one unicast and two multicast addresses, then of none; and some that are cut short.
    Frame tables = {1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0};
    tables.resize(tables.size() + 12, 1);
    CHECK(nic.net.command(tables) == 0);
    CHECK(nic.net.command({1, 0, 0, 0, 0, 0, 0, 0, 0, 0}) == 0);
    tables.pop_back();
    CHECK(nic.net.command(tables) == 1);
    CHECK(nic.net.command({1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}) == 1);
    CHECK(nic.net.command({1, 0, 0, 0, 0, 0}) == 1);
    CHECK(nic.net.command({1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) == 1);

    nic.net.device->reset();
    CHECK(nic.net.config_space().mac == first);
    CHECK_FALSE(nic.net.device->state().all_multicast);
}

TEST_CASE("a command without anything to read is answered too") {
    OneNic nic;
    nic.net.activate();
    REQUIRE(nic.net.drivers[2].add(std::array{Buffer{kPackets, 4, true}}));
    nic.net.kick(2);
    const auto used = nic.net.await(2);
    REQUIRE(used);
    CHECK(used->written == 1);
    CHECK(nic.net.get(kPackets, 2) == Frame{1, 0});
}

TEST_CASE("queue pairs come into use when the driver says so, and go again") {
    OneNic nic(nic_config(2));
    CHECK(nic.net.config_space().max_virtqueue_pairs == 2);
    nic.net.activate();
    nic.net.offer(kPackets + 1 * MiB, kBufferBytes, 1);
    nic.net.kick(2);
    nic.net.arrive(frame(60, 9), 1);
    nic.net.send(frame(60, 1), 1);  // not in use: dropped
    CHECK(nic.net.device->metrics(3).dropped == 1);
    CHECK_FALSE(nic.net.drivers[2].take_used());

    CHECK(nic.net.set_pairs(2) == 0);
    CHECK(nic.net.device->state().queue_pairs == 2);
    REQUIRE(nic.net.await(2));
    CHECK(body(nic.net.get(kPackets + 1 * MiB, 72)) == body(frame(60, 9)));
    nic.net.send(frame(60, 2), 1);
    CHECK(nic.net.departed(1) == frame(60, 2));
    nic.net.send(frame(60, 3), 0);
    CHECK(nic.net.departed(0) == frame(60, 3));

    CHECK(nic.net.set_pairs(1) == 0);
    CHECK(nic.net.set_pairs(2) == 0);  // at once
    nic.net.offer(kPackets + 1 * MiB, kBufferBytes, 1);
    nic.net.kick(2);
    nic.net.arrive(frame(60, 10), 1);
    REQUIRE(nic.net.await(2));
    CHECK(nic.net.set_pairs(1) == 0);
    nic.net.send(frame(60, 4), 1);
    CHECK(nic.net.device->metrics(3).dropped == 2);

    nic.net.device->reset();
    CHECK(nic.net.device->state().queue_pairs == 1);
}

TEST_CASE("without MQ the control queue is the third of many") {
    OneNic nic(nic_config(2));
    nic.net.activate(net::feature::kMultiQueue);
    nic.net.put(GuestAddress{1 * MiB}, {5, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    REQUIRE(nic.net.drivers[2].add(
        std::array{Buffer{GuestAddress{1 * MiB}, 10, false}, Buffer{GuestAddress{1 * MiB + 64}, 1, true}}));
    nic.net.kick(2);
    REQUIRE(nic.net.await(2));
    CHECK(nic.net.get(GuestAddress{1 * MiB + 64}, 1) == Frame{0});
    CHECK(nic.net.device->state().guest_offloads == 0);
}

TEST_CASE("while it is paused nothing moves, and afterwards nothing is lost") {
    OneNic nic;
    nic.net.activate();
    nic.net.offer(kPackets + 1 * MiB, kBufferBytes);
    nic.net.kick(0);
    nic.net.device->pause();
    nic.net.arrive(frame(60, 5));
    nic.net.put(kPackets, frame(60, 6));
    REQUIRE(nic.net.drivers[1].add(std::array{Buffer{kPackets, 72, false}}));
    nic.net.kick(1);
    nic.net.engine_round();
    CHECK_FALSE(nic.net.drivers[0].take_used());
    CHECK_FALSE(nic.net.drivers[1].take_used());
    CHECK(nic.net.device->queue_positions() == std::vector<QueuePosition>(3));
    nic.net.device->resume();
    REQUIRE(nic.net.await(0));
    REQUIRE(nic.net.await(1));
    CHECK(nic.net.departed() == frame(60, 6));
}

TEST_CASE("a packet that lacks buffers is not half taken when the device pauses") {
    OneNic nic;
    nic.net.activate();
    nic.net.offer(kPackets, 100);
    nic.net.kick(0);
    nic.net.arrive(frame(300, 1));
    nic.net.engine_round();
    nic.net.device->pause();
    CHECK(nic.net.device->queue_positions()[0] == QueuePosition{});
    nic.net.device->resume();
    nic.net.offer(kPackets + 100, 400);
    nic.net.kick(0);
    REQUIRE(nic.net.await(0));
    REQUIRE(nic.net.await(0));
    CHECK(body(nic.net.get(kPackets, 312)) == body(frame(300, 1)));
}

TEST_CASE("a restored device goes on where the saved one stood") {
    auto engine = io::Engine::create().value();
    NetFixture nic(*engine, nic_config(2));
    nic.activate();
    CHECK(nic.set_pairs(2) == 0);
    CHECK(nic.set_offloads(2, 0) == 0);
    nic.offer(kPackets + 1 * MiB, kBufferBytes, 1);
    nic.kick(2);
    nic.arrive(frame(60, 1), 1);
    REQUIRE(nic.await(2));
    nic.device->set_link(false);
    nic.device->pause();
    const State state = nic.device->state();
    const auto positions = nic.device->queue_positions();
    CHECK(state.queue_pairs == 2);
    CHECK(state.guest_offloads == 2);
    CHECK_FALSE(state.link_up);
    CHECK(positions[2] == QueuePosition{.next_avail = 1, .next_used = 1});
    nic.device->reset();
    HostEnd end = nic.device->take_host_end();
    nic.device.reset();

    Config other = nic_config(2);
    other.mac = parse_mac("02:00:00:00:00:01");  // the driver knows another
    nic.device = NetDevice::create(other, std::move(end), *engine, state).value();
    CHECK(nic.device->state() == state);
    CHECK(nic.config_space().mac == state.mac);
    nic.activate(0, positions);
    CHECK(nic.device->state() == state);
    nic.device->set_link(true);
    nic.offer(kPackets + 1 * MiB, kBufferBytes, 1);
    nic.kick(2);
    nic.arrive(frame(60, 2), 1);
    REQUIRE(nic.await(2));
    CHECK(body(nic.get(kPackets + 1 * MiB, 72)) == body(frame(60, 2)));
    nic.device.reset();
}

TEST_CASE("a saved state that no device has is refused") {
    auto engine = io::Engine::create().value();
    NetFixture nic(*engine, nic_config(2));
    const State good = nic.device->state();
    const auto refused = [&](auto change) {
        State state = good;
        change(state);
        std::array<int, 4> ends{};
        std::vector<Tap> taps;
        for (std::size_t i = 0; i < 2; ++i) {
            REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data() + 2 * i) == 0);
            taps.push_back(Tap::adopt(Fd(ends[2 * i]), "test").value());
            ::close(ends[2 * i + 1]);
        }
        const auto made = NetDevice::create(nic_config(2), std::move(taps), *engine, state);
        return !made && made.error().fault() == Fault::kInput;
    };
    CHECK_FALSE(refused([](State&) {}));
    CHECK(refused([](State& state) { state.features = 0; }));
    CHECK(refused([](State& state) { state.features |= std::uint64_t{1} << 50; }));
    CHECK(refused([](State& state) { state.queue_pairs = 3; }));
    CHECK(refused([](State& state) { state.queue_pairs = 0; }));
    CHECK(refused([](State& state) { state.mac = {}; }));
    CHECK(refused([](State& state) { state.guest_offloads = 1; }));
    CHECK(refused([](State& state) { state.mtu = 1500; }));
    CHECK(refused([](State& state) { state.used_mac = {1}; }));
}

TEST_CASE("the link goes down and up, the driver is told, and packets are dropped meanwhile") {
    OneNic nic;
    nic.net.device->set_link(true);
    nic.net.activate();
    CHECK(nic.net.config_space().status == 1);
    nic.net.device->set_link(false);
    CHECK(test::wait_for(nic.net.transport.config_change));
    CHECK(nic.net.config_space().status == 0);
    nic.net.offer(kPackets + 1 * MiB, kBufferBytes);
    nic.net.kick(0);
    nic.net.arrive(frame(60, 1));
    nic.net.send(frame(60, 2));
    CHECK_FALSE(nic.net.departed(0, 0));
    nic.net.engine_round();
    CHECK_FALSE(nic.net.drivers[0].take_used());
    CHECK(nic.net.device->metrics(0).dropped == 1);
    CHECK(nic.net.device->metrics(1).dropped == 1);
    nic.net.device->set_link(true);
    CHECK(test::wait_for(nic.net.transport.config_change));
    nic.net.arrive(frame(60, 3));
    REQUIRE(nic.net.await(0));
    CHECK(body(nic.net.get(kPackets + 1 * MiB, 72)) == body(frame(60, 3)));
}

TEST_CASE("a tap that is gone stops nothing but the packets") {
    OneNic nic;
    nic.net.activate();
    nic.net.offer(kPackets + 1 * MiB, kBufferBytes);
    nic.net.kick(0);
    nic.net.wires[0].reset();
    for (int i = 0; i < 3; ++i)
        nic.net.send(frame(60, 1));
    CHECK(nic.net.device->metrics(1).dropped == 3);
    CHECK_FALSE(nic.net.drivers[0].take_used());
    CHECK(nic.net.transport.reset_reason().empty());
    nic.net.device->pause();
    nic.net.device->resume();
}

TEST_CASE("a flood in both directions while the device pauses and resumes loses nothing it accepted") {
    OneNic nic(nic_config(1, 256));
    nic.net.activate();
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    for (std::uint64_t i = 0; i < 64; ++i)
        nic.net.offer(kPackets + 4096 * i, kBufferBytes);
    nic.net.kick(0);
    for (int round = 0; round < 200; ++round) {
        const Frame packet = frame(200, static_cast<std::uint8_t>(sent));
        while (sent - received < 48 &&
               ::send(nic.net.wires[0].get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ++sent;
        if (round % 10 == 0) {
            nic.net.device->pause();
            nic.net.device->resume();
        }
        while (nic.net.drivers[0].take_used()) {
            nic.net.offer(kPackets + 4096 * (received % 64), kBufferBytes);
            ++received;
        }
        nic.net.kick(0);
    }
    while (received < sent) {
        REQUIRE(nic.net.await(0));
        ++received;
    }
    CHECK(nic.net.device->metrics(0).packets == sent);
    CHECK(nic.net.device->metrics(0).dropped == 0);
}

TEST_CASE("the configuration space tells address and MTU; a bad configuration is refused") {
    Config config = nic_config();
    config.mtu = 9000;
    config.mac = parse_mac("02:00:5e:10:aB:01");
    OneNic nic(config);
    CHECK(nic.net.config_space().mac == Mac{0x02, 0, 0x5e, 0x10, 0xab, 1});
    CHECK(nic.net.config_space().mtu == 9000);
    CHECK((nic.net.device->features() & net::feature::kMtu) != 0);
    CHECK((nic.net.device->features() & net::feature::kMultiQueue) == 0);
    std::array<std::byte, 4> beyond{};
    nic.net.device->read_config(10, beyond);
    CHECK(beyond[2] == std::byte{0});
    nic.net.device->read_config(UINT32_MAX, beyond);

    const auto refused = [&](auto change) {
        Config bad = nic_config();
        change(bad);
        return !NetDevice::create(bad, {}, *nic.engine);
    };
    CHECK(refused([](Config&) {}));  // no tap
    CHECK(refused([](Config& bad) { bad.queue_pairs = 9; }));
    CHECK(refused([](Config& bad) { bad.queue_pairs = 0; }));
}

TEST_CASE("hardware addresses: what is one, and which an interface gets by itself") {
    CHECK(mac_text(*parse_mac("02:00:5e:10:00:01")) == "02:00:5e:10:00:01");
    for (const char* bad :
         {"", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "02-00-5e-10-00-01", "02:00:5e:10:0:011",
          "02:00:5e:10:00:0g", "00:00:00:00:00:00", "01:00:5e:10:00:01", "+2:00:5e:10:00:01"})
        CHECK_FALSE(parse_mac(bad));
    const Mac mac = default_mac("_net0", "tap0");
    CHECK(mac == default_mac("_net0", "tap0"));
    CHECK(mac != default_mac("_net1", "tap0"));
    CHECK(mac != default_mac("_net0", "tap1"));
    CHECK((mac[0] & 3) == 2);
}

TEST_CASE("only an open tap or a packet socket is taken over") {
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    CHECK_FALSE(Tap::adopt(Fd(pipe[0]), "fd 5"));
    ::close(pipe[1]);
    Config config = nic_config();
    config.fds = {9999};
    const auto taps = Tap::open(config);
    REQUIRE_FALSE(taps);
    CHECK(taps.error().text().find("fd 9999") != std::string::npos);
    CHECK(taps.error().fault() == Fault::kInput);
}
