// Interfaces on real taps, in a network namespace of their own, where the test may make one.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/virtio/net_fixture.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::net;
using test::Buffer;
using test::Frame;
using test::kHeaderBytes;
using test::kPackets;
using test::NetFixture;
using test::nic_config;

namespace {

constexpr std::uint16_t kTestProtocol = 0x88b5;  // IEEE 802, for local experiments

/// This thread in a network namespace with nothing in it, until it goes.
class Namespace {
  public:
    static std::optional<Namespace> enter() {
        Namespace space;
        if (::access("/dev/net/tun", R_OK | W_OK) != 0 || ::unshare(CLONE_NEWNET) != 0) return std::nullopt;
        return space;
    }
    Namespace(Namespace&&) = default;
    Namespace& operator=(Namespace&&) = delete;
    ~Namespace() {
        if (before_.valid()) ::setns(before_.get(), CLONE_NEWNET);
    }

  private:
    Namespace() : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {}
    Fd before_;
};

/// The host's side of a tap.
Fd host_socket(const std::string& tap) {
    Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(kTestProtocol)));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(kTestProtocol);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(tap.c_str()));
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return socket;
}

/// A broadcast frame of the test's protocol, behind a header.
Frame broadcast(std::size_t length, std::uint8_t seed) {
    Frame packet = test::frame(length, seed);
    const std::array<std::uint8_t, 14> ethernet = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                                                   0,    0,    0,    0,    1,    0x88, 0xb5};
    std::ranges::copy(ethernet, packet.begin() + kHeaderBytes);
    return packet;
}

/// A tap with vhost-net, or nothing where there is none.
std::optional<HostEnd> vhost_end(std::uint16_t pairs) {
    Config config = nic_config(pairs);
    config.tap = "hako%d";
    config.vhost = true;
    if (::access("/dev/vhost-net", R_OK | W_OK) != 0) return std::nullopt;
    return HostEnd::open(config).value();
}

Frame without_header(const Frame& packet) {
    return {packet.begin() + kHeaderBytes, packet.end()};
}

std::optional<Frame> host_receives(const Fd& socket, int timeout_ms) {
    pollfd poll_fd{.fd = socket.get(), .events = POLLIN, .revents = 0};
    if (::poll(&poll_fd, 1, timeout_ms) != 1) return std::nullopt;
    Frame packet(65536);
    const ssize_t length = ::recv(socket.get(), packet.data(), packet.size(), 0);
    if (length <= 0) return std::nullopt;
    packet.resize(static_cast<std::size_t>(length));
    return packet;
}

/// Offers buffers until the host's frame comes: it speaks IPv6 on the new interface of its own accord.
bool guest_receives(NetFixture& nic, const Frame& wanted) {
    for (int i = 0; i < 50; ++i) {
        nic.offer(kPackets + 1 * MiB, 2048);
        nic.kick(0);
        const auto used = nic.await(0);
        if (!used) return false;
        if (without_header(nic.get(kPackets + 1 * MiB, used->written)) == wanted) return true;
    }
    return false;
}

}  // namespace

TEST_CASE("packets that a tap hands over one at a time leave few reads waiting") {
    const auto space = Namespace::enter();
    if (!space) {
        MESSAGE("no tap can be made here: not tested");
        return;
    }
    auto engine = io::Engine::create().value();
    Config config = nic_config();
    config.tap = "hako%d";
    auto taps = Tap::open(config).value();
    const Fd host = host_socket(taps[0].name());
    NetFixture nic(*engine, config, std::move(taps));
    nic.activate();
    for (std::uint8_t i = 0; i < 60; ++i) {
        const Frame in = without_header(broadcast(100, i));
        REQUIRE(::send(host.get(), in.data(), in.size(), 0) == static_cast<ssize_t>(in.size()));
        REQUIRE(guest_receives(nic, in));
    }
    nic.engine_round();
    // A read that waits (Linux before 6.4) is called back one by one; so are the tap's poll and three
    // doorbells.
    const std::uint64_t before = engine->counters().sqes;
    nic.device->reset();
    CHECK(engine->counters().sqes - before <= 4 + 4);
}

TEST_CASE("frames go through a real tap both ways, with one queue and with several") {
    for (const std::uint16_t pairs : {std::uint16_t{1}, std::uint16_t{4}}) {
        const auto space = Namespace::enter();
        if (!space) {
            MESSAGE("no tap can be made here: not tested");
            return;
        }
        auto engine = io::Engine::create().value();
        Config config = nic_config(pairs);
        config.tap = "hako%d";
        config.mtu = 1400;
        auto taps = Tap::open(config).value();
        REQUIRE(taps.size() == pairs);
        const std::string name = taps[0].name();
        CHECK(name == "hako0");
        const Fd host = host_socket(name);
        const auto again = Tap::open([&] {
            Config other = nic_config(1);
            other.tap = name;
            return other;
        }());
        REQUIRE_FALSE(again);  // in use, or with other queues
        CHECK(again.error().fault() == Fault::kInput);

        NetFixture nic(*engine, config, std::move(taps));
        nic.activate();
        const Frame out = broadcast(600, 1);
        nic.send(out);
        CHECK(host_receives(host, 10'000) == without_header(out));
        const Frame in = without_header(broadcast(700, 2));
        REQUIRE(::send(host.get(), in.data(), in.size(), 0) == static_cast<ssize_t>(in.size()));
        CHECK(guest_receives(nic, in));

        // A wild header: the kernel refuses the packet, and goes on with the next.
        Frame wild = broadcast(600, 3);
        const Header header{.flags = 1,
                            .gso_type = 0x7f,
                            .hdr_len = 0xffff,
                            .gso_size = 0xffff,
                            .csum_start = 0xffff,
                            .csum_offset = 0xffff,
                            .num_buffers = 0xffff};
        std::memcpy(wild.data(), &header, sizeof header);
        nic.send(wild);
        CHECK(nic.device->metrics(1).dropped == 1);
        CHECK(nic.set_offloads(2, 0) == 0);
        CHECK(nic.set_offloads(0x82, 1) == 0);

        if (pairs > 1) {
            CHECK(nic.set_pairs(4) == 0);
            nic.send(out, 3);
            CHECK(host_receives(host, 10'000) == without_header(out));
            CHECK(nic.set_pairs(2) == 0);
            CHECK(nic.set_pairs(1) == 0);
        }
        REQUIRE(::send(host.get(), in.data(), in.size(), 0) == static_cast<ssize_t>(in.size()));
        CHECK(guest_receives(nic, in));
        nic.device->reset();
        nic.make_drivers();
        nic.activate();
        nic.send(out);
        CHECK(host_receives(host, 10'000) == without_header(out));
        CHECK(nic.device->metrics(0).errors == 0);
        nic.device.reset();
    }
}

TEST_CASE("a tap that the host deletes stops nothing but the packets") {
    const auto space = Namespace::enter();
    if (!space) {
        MESSAGE("no tap can be made here: not tested");
        return;
    }
    auto engine = io::Engine::create().value();
    Config config = nic_config(1);
    config.tap = "hako%d";
    auto taps = Tap::open(config).value();
    const std::string name = taps[0].name();
    NetFixture nic(*engine, config, std::move(taps));
    nic.activate();
    nic.send(broadcast(600, 1));
    CHECK(nic.device->metrics(1).packets == 1);
    REQUIRE(std::system(("ip link del " + name + " 2>/dev/null").c_str()) == 0);
    nic.send(broadcast(600, 1));
    nic.send(broadcast(600, 1));
    CHECK(nic.device->metrics(1).dropped == 2);
    CHECK(nic.transport.reset_reason().empty());
    nic.device->pause();
    nic.device->resume();
    nic.device->reset();
    nic.make_drivers();
    nic.activate();
    nic.send(broadcast(600, 1));
    CHECK(nic.device->metrics(1).dropped == 3);
    nic.device.reset();
}

TEST_CASE("vhost-net moves packets, stands still while paused, and tells where it stands") {
    for (const std::uint16_t pairs : {std::uint16_t{1}, std::uint16_t{4}}) {
        const auto space = Namespace::enter();
        auto end = space ? vhost_end(pairs) : std::nullopt;
        if (!end) {
            MESSAGE("no vhost-net here: not tested");
            return;
        }
        auto engine = io::Engine::create().value();
        const Fd host = host_socket(end->name());
        NetFixture nic(*engine, nic_config(pairs), std::move(*end));
        nic.activate();
        const Frame out = broadcast(600, 1);
        const Frame in = without_header(broadcast(700, 2));
        nic.send(out);
        CHECK(host_receives(host, 10'000) == without_header(out));
        REQUIRE(::send(host.get(), in.data(), in.size(), 0) == static_cast<ssize_t>(in.size()));
        CHECK(guest_receives(nic, in));

        nic.device->pause();
        nic.put(kPackets, out);
        REQUIRE(
            nic.drivers[1].add(std::array{Buffer{kPackets, static_cast<std::uint32_t>(out.size()), false}}));
        nic.kick(1);
        CHECK_FALSE(host_receives(host, 100));
        CHECK_FALSE(nic.drivers[1].take_used());
        const auto positions = nic.device->queue_positions();
        CHECK(positions[1] == QueuePosition{.next_avail = 1, .next_used = 1});
        CHECK(positions[0].next_used == nic.drivers[0].used_index());
        const State state = nic.device->state();
        nic.device->resume();
        CHECK(host_receives(host, 10'000) == without_header(out));
        REQUIRE(nic.await(1));

        // The link goes down and up: what was sent meanwhile waits.
        nic.device->set_link(false);
        REQUIRE(
            nic.drivers[1].add(std::array{Buffer{kPackets, static_cast<std::uint32_t>(out.size()), false}}));
        nic.kick(1);
        CHECK_FALSE(host_receives(host, 100));
        nic.device->set_link(true);
        CHECK(host_receives(host, 10'000) == without_header(out));
        REQUIRE(nic.await(1));

        if (pairs > 1) {
            CHECK(nic.set_pairs(4) == 0);
            nic.send(out, 3);
            CHECK(host_receives(host, 10'000) == without_header(out));
            CHECK(nic.set_pairs(1) == 0);
        }

        // Another device goes on at the same rings.
        nic.device->pause();
        const auto last = nic.device->queue_positions();
        CHECK(last[1] == QueuePosition{.next_avail = 3, .next_used = 3});
        nic.device->reset();
        HostEnd same = nic.device->take_host_end();
        nic.device.reset();
        nic.device = NetDevice::create(nic_config(pairs), std::move(same), *engine, state).value();
        nic.activate(0, last);
        nic.send(out);
        CHECK(host_receives(host, 10'000) == without_header(out));
        REQUIRE(::send(host.get(), in.data(), in.size(), 0) == static_cast<ssize_t>(in.size()));
        CHECK(guest_receives(nic, in));

        // A new driver, then one that breaks the rules.
        nic.device->reset();
        nic.make_drivers();
        nic.activate();
        nic.send(out);
        CHECK(host_receives(host, 10'000) == without_header(out));
        nic.drivers[1].write_descriptor(5, GuestAddress{1024 * GiB}, 100, 0);
        nic.drivers[1].offer(5);
        nic.kick(1);
        CHECK(test::wait_for(nic.transport.reset_wanted));
        CHECK(nic.transport.reset_reason() == "vhost-net found a queue that breaks the rules");
        nic.device.reset();
    }
}

TEST_CASE("vhost-net signals the interrupt that the driver chose last") {
    const auto space = Namespace::enter();
    auto end = space ? vhost_end(1) : std::nullopt;
    if (!end) {
        MESSAGE("no vhost-net here: not tested");
        return;
    }
    auto engine = io::Engine::create().value();
    NetFixture nic(*engine, nic_config(), std::move(*end));
    nic.activate();
    const Frame out = broadcast(600, 1);
    nic.send(out);
    const EventFd before = std::exchange(nic.transport.interrupts[1], EventFd::create().value());
    nic.device->queue_interrupt_changed(1);
    nic.device->queue_interrupt_changed(2);  // not of the kernel's
    before.take();
    nic.send(out);
    CHECK_FALSE(before.pending());
    nic.device.reset();
}
