// A network device with a driver in front of it and sockets in place of taps: everything but the VM.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/net/device.h"
#include "virtio/net/protocol.h"

namespace hako::test {

namespace net = virtio::net;

inline constexpr std::size_t kHeaderBytes = sizeof(net::Header);

inline net::Config nic_config(std::uint16_t pairs = 1, std::uint16_t queue_size = 64) {
    net::Config config;
    config.id = "_net0";
    config.queue_pairs = pairs;
    config.queue_size = queue_size;
    return config;
}

using Frame = std::vector<std::uint8_t>;

/// A packet as it goes through a tap: a header (`flags` in it) and `length` bytes that count up from `seed`.
inline Frame frame(std::size_t length, std::uint8_t seed, std::uint8_t flags = 0) {
    Frame result(kHeaderBytes + length);
    result[0] = flags;
    for (std::size_t i = 0; i < length; ++i)
        result[kHeaderBytes + i] = static_cast<std::uint8_t>(seed + i);
    return result;
}

/// Guest memory: rings from 64 KiB, data from 2 MiB.
inline constexpr GuestAddress kPackets{2 * MiB};

class NetFixture {
  public:
    NetFixture(io::Engine& engine, const net::Config& config, net::HostEnd end,
               const std::optional<net::State>& state = std::nullopt,
               virtio::Clock now = std::chrono::steady_clock::now)
        : transport(std::size_t{2} * config.queue_pairs + 1), engine_(engine) {
        device = net::NetDevice::create(config, std::move(end), engine, state, now).value();
        make_drivers();
    }
    explicit NetFixture(io::Engine& engine, const net::Config& config = nic_config(),
                        virtio::Clock now = std::chrono::steady_clock::now)
        : NetFixture(engine, config, std::vector<Fd>(), config.queue_pairs, now) {}

    /// Drivers that know of nothing yet, as after a reset.
    void make_drivers() {
        drivers.clear();
        for (const std::uint16_t size : device->queue_max_sizes())
            drivers.emplace_back(memory, drivers.empty() ? GuestAddress{64 * KiB} : drivers.back().end(),
                                 size);
    }

    void activate(std::uint64_t without = 0, std::span<const virtio::QueuePosition> positions = {}) {
        features = device->features() & ~without & ~virtio::feature::kEventIdx;
        std::vector<virtio::QueueConfig> queues;
        for (const DriverQueue& driver : drivers)
            queues.push_back(driver.config());
        REQUIRE(device->activate({.features = features,
                                  .memory = memory,
                                  .hooks = transport,
                                  .queues = queues,
                                  .kicks = transport.kicks,
                                  .positions = positions}));
    }
    [[nodiscard]] std::size_t control() const { return drivers.size() - 1; }

    void kick(std::size_t queue) {
        if (drivers[queue].publish()) transport.kicks[queue].signal();
    }
    /// Waits for the next used chain.
    std::optional<DriverQueue::Used> await(std::size_t queue) {
        for (;;) {
            if (const auto used = drivers[queue].take_used()) return used;
            if (!wait_for(transport.interrupts[queue])) return std::nullopt;
        }
    }

    /// Lets the io thread do all it can do by now.
    void engine_round() {
        for (int i = 0; i < 8; ++i) {
            engine_.run_sync([] {});
            ::usleep(1000);
        }
    }
    /// Puts a packet on the wire for the guest.
    void arrive(const Frame& packet, std::size_t pair = 0) {
        REQUIRE(::send(wires[pair].get(), packet.data(), packet.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(packet.size()));
    }
    /// The next packet that the guest put on the wire.
    std::optional<Frame> departed(std::size_t pair = 0, int timeout_ms = 10'000) {
        pollfd poll_fd{.fd = wires[pair].get(), .events = POLLIN, .revents = 0};
        if (::poll(&poll_fd, 1, timeout_ms) != 1) return std::nullopt;
        Frame packet(128 * KiB);
        const ssize_t length = ::recv(wires[pair].get(), packet.data(), packet.size(), MSG_DONTWAIT);
        if (length <= 0) return std::nullopt;
        packet.resize(static_cast<std::size_t>(length));
        return packet;
    }

    /// Offers a receive buffer; nobody is kicked.
    std::uint16_t offer(GuestAddress to, std::uint32_t length, std::size_t pair = 0) {
        const auto head = drivers[2 * pair].add(std::array{Buffer{to, length, true}});
        REQUIRE(head);
        return *head;
    }
    /// Sends a packet from a place in guest memory and waits until the buffer is back.
    void send(const Frame& packet, std::size_t pair = 0) {
        put(kPackets, packet);
        const std::array buffers = {
            Buffer{kPackets, kHeaderBytes, false},
            Buffer{kPackets + kHeaderBytes, static_cast<std::uint32_t>(packet.size() - kHeaderBytes), false}};
        REQUIRE(drivers[2 * pair + 1].add(buffers));
        kick(2 * pair + 1);
        REQUIRE(await(2 * pair + 1));
    }
    /// Gives a control command and tells the answer; 0xff: none was written.
    std::uint8_t command(const Frame& bytes) {
        const GuestAddress at{1 * MiB};
        put(at, bytes);
        REQUIRE(memory.store(at + 512, std::uint8_t{0xff}));
        REQUIRE(drivers[control()].add(std::array{Buffer{at, static_cast<std::uint32_t>(bytes.size()), false},
                                                  Buffer{at + 512, 1, true}}));
        kick(control());
        REQUIRE(await(control()));
        return memory.load<std::uint8_t>(at + 512).value();
    }
    std::uint8_t set_pairs(std::uint8_t pairs) { return command({4, 0, pairs, 0}); }
    std::uint8_t set_offloads(std::uint8_t low, std::uint8_t high) {
        return command({5, 0, low, high, 0, 0, 0, 0, 0, 0});
    }

    void put(GuestAddress to, const Frame& bytes) {
        REQUIRE(memory.write(to, std::as_bytes(std::span(bytes))));
    }
    [[nodiscard]] Frame get(GuestAddress from, std::size_t length) const {
        Frame bytes(length);
        REQUIRE(memory.read(from, std::as_writable_bytes(std::span(bytes))));
        return bytes;
    }
    [[nodiscard]] net::Header header(GuestAddress at) const { return memory.load<net::Header>(at).value(); }
    [[nodiscard]] net::ConfigSpace config_space() {
        net::ConfigSpace space{};
        device->read_config(0, std::as_writable_bytes(std::span(&space, 1)));
        return space;
    }

    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    FakeTransport transport;
    std::vector<Fd> wires;  ///< the far ends of the taps
    std::vector<DriverQueue> drivers;
    std::uint64_t features = 0;
    std::unique_ptr<net::NetDevice> device;  // goes before the memory and the transport it works on

  private:
    NetFixture(io::Engine& engine, const net::Config& config, std::vector<Fd> far_ends, std::uint16_t pairs,
               virtio::Clock now)
        : NetFixture(engine, config, wired_taps(far_ends, pairs), std::nullopt, now) {
        wires = std::move(far_ends);
    }
    /// Sockets in place of taps, and their other ends.
    static std::vector<net::Tap> wired_taps(std::vector<Fd>& far_ends, std::uint16_t pairs) {
        std::vector<net::Tap> taps;
        for (std::uint16_t i = 0; i < pairs; ++i) {
            std::array<int, 2> ends{};
            REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
            const int room = 4 * 1024 * 1024;
            for (const int end : ends)
                ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
            taps.push_back(net::Tap::adopt(Fd(ends[0]), "test").value());
            far_ends.emplace_back(ends[1]);
        }
        return taps;
    }

    io::Engine& engine_;
};

}  // namespace hako::test
